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


def rankme(codes: Tensor, eps: float = 1e-7) -> float:
    """exp of the entropy of the codes' normalised singular values; between 1 and min(N, D).

    Garrido et al. 2023, "RankMe" (2210.02885), eq. 1, with their eps. Codes are not centred.

    Raises:
        NoNumber: see `finite`; or all codes are 0.
    """
    values = torch.linalg.svdvals(finite(codes))
    if values.sum() == 0:
        raise NoNumber("all codes are 0: the encoder is dead")
    p = values / values.sum() + eps
    return (-(p * p.log()).sum()).exp().item()


def effective_rank(codes: Tensor) -> float:
    """exp of the entropy of the covariance's normalised eigenvalues: the number of directions in which codes vary.

    Roy & Vetterli 2007, "The effective rank", Definition 1, but of the covariance instead of the matrix. `rankme` uses
    singular values of codes that are not centred.

    Raises:
        NoNumber: see `finite`; or all codes are equal.
    """
    z = finite(codes)
    if len(z) < 2:
        raise TooFew("a covariance needs at least 2 rows")
    values = torch.linalg.svdvals(z - z.mean(0)).square()
    # rounding errors of constant codes do not count as a direction
    if values.sum() <= 1e-24 * max(1.0, z.abs().max().item() ** 2) * z.numel():
        raise NoNumber("all codes are equal: the encoder has collapsed")
    p = values / values.sum()
    return torch.exp(torch.special.entr(p).sum()).item()


def dead_units(codes: Tensor, threshold: float = 1e-2) -> int:
    """The number of dimensions whose standard deviation is below `threshold` times the largest one.

    Raises:
        UserError: see `finite`; or the threshold is not positive.
    """
    at_least(0, threshold=threshold)
    spread = finite(codes).std(0)
    return int((spread <= threshold * spread.max()).sum())


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
