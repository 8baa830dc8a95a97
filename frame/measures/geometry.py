"""The geometry of codes [N, D]: whether they are spread out, lie in few directions, or have collapsed."""

import torch
import torch.nn.functional as F
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError, at_least

ROWS = 2048  # per block of pairs


def alignment(x: Tensor, y: Tensor, alpha: float = 2.0) -> float:
    """E ||x - y||^alpha over positive pairs (x_i, y_i), scaled to length 1; 0 is perfect, 2^alpha the maximum.

    Wang & Isola 2020, "Understanding contrastive representation learning through alignment and uniformity on the
    hypersphere" (2005.10242), eq. 3 (Definition 1).

    Raises:
        UserError: see `finite`; or the shapes differ.
    """
    if x.shape != y.shape:
        raise UserError(f"positive pairs {list(x.shape)} and {list(y.shape)}: give as many codes of both views")
    x, y = F.normalize(finite(x), dim=1), F.normalize(finite(y), dim=1)
    return (x - y).norm(dim=1).pow(alpha).mean().item()


def uniformity(x: Tensor, t: float = 2.0) -> float:
    """log E exp(-t ||x - y||^2) over all pairs of different rows, scaled to length 1; lower is more uniform.

    Wang & Isola 2020 (2005.10242), eq. 4. 0 if all rows point the same way; at best about -2t in many dimensions.

    Raises:
        UserError: see `finite`; or there are fewer than 2 rows.
    """
    x = F.normalize(finite(x), dim=1)
    n = len(x)
    if n < 2:
        raise TooFew("uniformity compares rows: give at least 2")
    total = torch.zeros((), dtype=x.dtype)
    for block in x.split(ROWS):
        # ||x - y||^2 = 2 - 2 x.y
        total += torch.exp(-t * (2 - 2 * block @ x.T).clamp_min(0)).sum()
    return ((total - n) / (n * (n - 1))).log().item()  # without the n pairs of a row and itself


def directional_spread(codes: Tensor) -> Tensor:
    """The mean standard deviation over rows of a dimension of codes [N, D] scaled to length 1, times sqrt(D).

    0 if all codes point the same way, 1 if they point everywhere (Chen & He 2021, 2011.10566, section 4.1). In the
    codes' own precision and on their device, so that a loss can log it.
    """
    directions = F.normalize(codes.flatten(1), dim=1)
    return directions.std(0).mean() * directions.shape[1] ** 0.5


def rankme(codes: Tensor, eps: float = 1e-7) -> float:
    """exp of the entropy of the codes' normalised singular values; between 1 and min(N, D).

    Garrido et al. 2023, "RankMe" (2210.02885), eq. 1, with their eps. Codes are not centred.

    Raises:
        NoNumber: see `finite`; or all codes are 0.
    """
    values = torch.linalg.svdvals(finite(codes))
    if values.sum() == 0:
        raise NoNumber("all codes are 0: the encoder is dead")
    return _rank(values, eps)


def effective_rank(codes: Tensor) -> float:
    """exp of the entropy of the covariance's normalised eigenvalues: the number of directions in which codes vary.

    Roy & Vetterli 2007, "The effective rank", Definition 1, but of the covariance instead of the matrix. `rankme` uses
    singular values of codes that are not centred.

    Raises:
        NoNumber: see `finite`; or all codes are equal.
    """
    z = finite(codes)
    values = _variances(z)
    # rounding errors of constant codes do not count as a direction
    if values.sum() <= 1e-24 * max(1.0, z.abs().max().item() ** 2) * z.numel():
        raise NoNumber("all codes are equal: the encoder has collapsed")
    return _rank(values)


def alpha_req(codes: Tensor) -> float:
    """alpha of the power law j^-alpha that the j-th largest eigenvalue of the codes' covariance follows; 1 is best.

    Agrawal et al. 2022, "alpha-ReQ: assessing representation quality in self-supervised learning by measuring
    eigenspectrum decay", section 3. A least-squares line through (log j, log lambda_j), over all eigenvalues above 1e-6
    of the largest.

    Raises:
        NoNumber: see `finite`; or fewer than 2 eigenvalues are above that.
    """
    values = _variances(finite(codes))
    kept = values[values > 1e-6 * values[0].clamp_min(1e-24)]
    if len(kept) < 2:
        raise NoNumber("codes vary in one direction or none, and a power law needs two: the encoder has collapsed")
    x = torch.arange(1, len(kept) + 1, dtype=torch.float64).log()
    x = x - x.mean()
    return -((x * kept.log()).sum() / x.square().sum()).item()


def lidar(codes: Tensor, delta: float = 1e-4, eps: float = 1e-7) -> float:
    """exp of the entropy of the spectrum of linear discriminants of rows, whose classes are pictures; at most D.

    Thilak et al. 2024, "LiDAR: sensing linear probing performance in joint embedding SSL architectures" (2312.04000),
    eq. 1 to 4, with their delta and eps: of Sigma_w^-1/2 Sigma_b Sigma_w^-1/2, where Sigma_b is the covariance of the
    pictures' means, and Sigma_w that of views around them, plus delta I.

    Args:
        codes: [N, Q, D], Q views of each of N pictures.
        delta, eps: as above.

    Raises:
        UserError: the shape is another one, or there are fewer than 2 pictures or views.
        NoNumber: codes are not finite, or all pictures have the same mean.
    """
    if codes.dim() != 3 or min(codes.shape[:2]) < 2:
        raise TooFew(f"codes {list(codes.shape)}: LiDAR needs [N, Q, D], 2 or more views of 2 or more pictures")
    z = finite(codes.flatten(0, 1)).view(codes.shape)
    means = z.mean(1)  # [N, D]
    between, within = (means - means.mean(0)), (z - means.unsqueeze(1)).flatten(0, 1)
    sigma_b = between.T @ between / (len(z) - 1)
    sigma_w = within.T @ within / (len(z) * (z.shape[1] - 1))
    values, vectors = torch.linalg.eigh(sigma_w + delta * torch.eye(z.shape[2], dtype=z.dtype))
    root = vectors * values.rsqrt()  # Sigma_w^-1/2 up to a rotation, which no eigenvalue sees
    spectrum = torch.linalg.eigvalsh(root.T @ sigma_b @ root).clamp_min(0)
    if spectrum.sum() == 0:
        raise NoNumber("all pictures have the same code: the encoder has collapsed")
    return _rank(spectrum, eps)


def dead_units(codes: Tensor, threshold: float = 1e-2) -> int:
    """The number of dimensions whose standard deviation is below `threshold` times the largest one.

    Raises:
        UserError: see `finite`; or the threshold is not positive.
    """
    at_least(0, threshold=threshold)
    spread = finite(codes).std(0)
    return int((spread <= threshold * spread.max()).sum())


def _variances(z: Tensor) -> Tensor:
    """The eigenvalues of the covariance of z [N, D], times N - 1, from the largest to the smallest."""
    if len(z) < 2:
        raise TooFew("a covariance needs at least 2 rows")
    return torch.linalg.svdvals(z - z.mean(0)).square()


def _rank(values: Tensor, eps: float = 0.0) -> float:
    """exp of the entropy of a spectrum, scaled to the sum 1; eps is added to each value."""
    return torch.special.entr(values / values.sum() + eps).sum().exp().item()


def finite(codes: Tensor) -> Tensor:
    """The codes in float64.

    Raises:
        UserError: they are not a matrix of numbers.
        NoNumber: one of them is NaN or infinite.
    """
    if codes.dim() != 2 or not codes.numel():
        raise UserError(f"codes have shape {list(codes.shape)}: give rows of codes, [N, D]")
    z = codes.detach().cpu().double()
    if not z.isfinite().all():
        raise NoNumber("codes have values that are NaN or infinite: the model has diverged")
    return z
