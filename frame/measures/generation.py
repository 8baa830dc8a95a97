"""How far generated rows are from real ones, by features [N, D] of both that the caller chooses.

FID is larger with fewer rows: compare only numbers from equally many rows and the same features.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError, at_least

NUMBERS_AT_ONCE = 2**19  # distances held at a time: 4 MiB is four times as fast as 64 MiB


def fid(features_a: Tensor, features_b: Tensor) -> float:
    """Frechet distance of two Gaussians with the means and covariances of both sets; 0 if they are equal.

    |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2), Heusel et al. 2017 (1706.08500), eq. 6. In float64.

    Raises:
        UserError: shapes do not fit.
        NoNumber: features are not finite, or those of `features_a` are all equal.
        TooFew: there are no more rows than dimensions, so that a covariance is singular.
    """
    checked(features_a, features_b)
    for features in (features_a, features_b):
        n, size = features.shape
        if n <= size:
            raise TooFew(f"{n} rows of {size} features have no full covariance: FID needs more rows than features")
    (mean_a, s_a), (mean_b, s_b) = moments(features_a), moments(features_b)
    # tr (S_a S_b)^1/2 is the sum of the singular values of S_a^1/2 S_b^1/2. They need no square roots of eigenvalues
    # that are 0 up to rounding.
    root = torch.linalg.svdvals(_root(s_a) @ _root(s_b)).sum()
    distance = (mean_a - mean_b).square().sum() + s_a.trace() + s_b.trace() - 2 * root
    return max(distance.item(), 0.0)


def kid(
    features_a: Tensor, features_b: Tensor, n_subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Squared MMD of both sets with the kernel (x.y / D + 1)^3: its mean over random subsets, and their spread.

    Binkowski et al. 2018, "Demystifying MMD GANs" (1801.01401), section 4. It is unbiased: its mean is 0 if both sets
    have the same distribution, and it may be negative. The number of rows changes only its spread.

    Args:
        features_a, features_b: [N, D] and [M, D].
        n_subsets: number of subsets.
        subset_size: rows of each set in a subset.
        seed: seed of the subsets.

    Returns:
        The mean, and the standard deviation over subsets; 0 for one subset.

    Raises:
        UserError, NoNumber: as `fid`; or a number is out of range.
        TooFew: a set has fewer rows than a subset.
    """
    at_least(1, n_subsets=n_subsets)
    at_least(2, subset_size=subset_size)
    checked(features_a, features_b)
    fewest = min(len(features_a), len(features_b))
    if fewest < subset_size:
        raise TooFew(f"{fewest} rows are too few for subsets of {subset_size}: give more rows or a smaller subset_size")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n_subsets):
        chosen = (
            features[torch.randperm(len(features), generator=generator)[:subset_size]]
            for features in (features_a, features_b)
        )
        found.append(_polynomial_mmd(*(rows.detach().cpu().double() for rows in chosen)))
    values = torch.stack(found)
    return values.mean().item(), values.std(correction=0).item()


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Fraction of generated rows that lie among real ones, and of real rows that lie among generated ones.

    A row lies among others if it is no farther from one of them than that one's k-th nearest neighbour is:
    Kynkaanniemi et al. 2019, "Improved precision and recall metric" (1904.06991), eq. 1 and 2.
    Equal sets have 1 and 1.

    Raises:
        UserError, NoNumber: as `fid`; or k < 1.
        TooFew: a set has no more than k rows.
    """
    checked(real, generated)
    among_real, _ = in_balls(real, generated, k)
    among_generated, _ = in_balls(generated, real, k)
    return (among_real > 0).double().mean().item(), (among_generated > 0).double().mean().item()


def density_coverage(real: Tensor, generated: Tensor, k: int = 5) -> tuple[float, float]:
    """Density, the mean number of balls that hold a generated row, over k; coverage, the share of balls that hold one.

    Balls reach from each real row to its k-th nearest real neighbour: Naeem et al. 2020, "Reliable fidelity and
    diversity metrics" (2002.09797), eq. 4 and 5. If both sets have N rows from the same distribution and N is large,
    density is 1 and coverage 1 - 2^-k. A set compared with itself has 1 + 1/k and 1. Density may be above 1.

    Raises:
        UserError, NoNumber: as `fid`; or k < 1.
        TooFew: there are no more than k real rows.
    """
    checked(real, generated)
    counts, hit = in_balls(real, generated, k)
    return counts.double().mean().item() / k, hit.double().mean().item()


def in_balls(centres: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The number of balls that hold each point, [M], and whether each ball holds a point, bool [N].

    A ball reaches from a centre to its k-th nearest other centre, including its edge. Distances are computed block by
    block, never all N x M at once.

    Raises:
        UserError: k < 1.
        TooFew: there are no more than k centres.
    """
    at_least(1, k=k)
    if len(centres) <= k:
        raise TooFew(f"{len(centres)} rows have no {k}th nearest neighbour: give more than k")
    # in float64 and around their mean, so that small distances keep their precision
    mean = centres.double().mean(0)
    centres, points = centres.double() - mean, points.double() - mean
    # k + 1, because the nearest centre is the centre itself
    radii = torch.cat([d.topk(k + 1, largest=False).values[:, -1] for d in _squared_distances(centres, centres)])
    # a copy of a centre's neighbour lies on the edge; rounding must not put it outside
    radii = radii.clamp_min(0) + 1e-12 * max(centres.square().sum(1).max().item(), points.square().sum(1).max().item())
    counts, hit = [], torch.zeros(len(centres), dtype=torch.bool)
    for d in _squared_distances(points, centres):  # [m, N]
        inside = d <= radii
        counts.append(inside.sum(1))
        hit |= inside.any(0)
    return torch.cat(counts), hit


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and covariance [D, D], over N - 1, in float64, from blocks of rows."""
    blocks = features.split(max(1, NUMBERS_AT_ONCE // features.shape[1]))
    mean = sum(block.double().sum(0) for block in blocks) / len(features)
    assert isinstance(mean, Tensor)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for block in blocks:
        centred = block.double() - mean
        covariance += centred.T @ centred
    return mean, covariance / (len(features) - 1)


def checked(features_a: Tensor, features_b: Tensor) -> None:
    """Raises the errors of the measures above for features that cannot be compared."""
    shapes = f"{list(features_a.shape)} and {list(features_b.shape)}"
    if features_a.dim() != 2 or features_b.dim() != 2 or features_a.shape[1] != features_b.shape[1]:
        raise UserError(f"features {shapes}: give rows of both, [N, D] and [M, D]")
    if min(len(features_a), len(features_b)) < 2:
        raise TooFew(f"features {shapes}: give at least 2 rows of each")
    for features in (features_a, features_b):
        if not features.isfinite().all():
            raise NoNumber("features have values that are NaN or infinite: the pictures or the network have diverged")
    # generated rows may be equal (mode collapse, which has a number), but real rows may not
    if (features_a == features_a[0]).all():
        raise NoNumber(f"all {len(features_a)} real rows have equal features: they tell nothing apart")


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def _polynomial_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The U-statistic: no row is paired with itself."""
    n, size = x.shape
    xx, yy, xy = (_cubed(a @ b.T / size + 1) for a, b in ((x, x), (y, y), (x, y)))
    within = sum(k.sum() - k.diagonal().sum() for k in (xx, yy))
    return within / (n * (n - 1)) - 2 * xy.mean()


def _cubed(x: Tensor) -> Tensor:
    return x * x * x  # several times as fast as x ** 3


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Blocks [m, N] of rows of x."""
    squares = y.square().sum(1)
    for rows in x.split(max(1, NUMBERS_AT_ONCE // len(y))):
        yield rows.square().sum(1, keepdim=True) + squares - 2 * rows @ y.T
