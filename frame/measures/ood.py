"""How well a score separates rows of a distribution from others; rows of the distribution should score higher."""

import math

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from frame.common.errors import NoNumber, TooFew, UserError, at_least
from frame.measures.neighbours import nearest


def auroc(inside: Tensor, outside: Tensor) -> tuple[float, float]:
    """P(score inside > score outside) + P(equal) / 2, the area under the ROC curve, and its standard error.

    A perfect score has 1, a useless one 0.5, and below 0.5 its sign is wrong. The standard error is that of Hanley and
    McNeil 1982, Radiology 143, eq. 1 to 3, for exponentially distributed scores.

    Args:
        inside: scores of rows of the distribution, [N].
        outside: scores of others, [M].

    Raises:
        UserError, NoNumber: see `check_scores`.
    """
    check_scores(inside, outside)
    n, m = len(inside), len(outside)
    # ranks, because torchmetrics applies a sigmoid to scores beyond [0, 1], which makes large ones equal
    _, ranks = torch.cat([inside, outside]).unique(return_inverse=True)
    belongs = torch.arange(n + m, device=ranks.device) < n
    a = float(binary_auroc(ranks.double() / ranks.max(), belongs.long()))
    q_inside, q_outside = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (n - 1) * (q_inside - a * a) + (m - 1) * (q_outside - a * a)) / (n * m)
    return a, math.sqrt(max(variance, 0.0))


def fpr_at_tpr(inside: Tensor, outside: Tensor, tpr: float = 0.95) -> tuple[float, float]:
    """False positive rate at the threshold with a true positive rate of `tpr`, and its standard error.

    Rows inside are the positive ones. The threshold is the highest with a true positive rate of `tpr` or more. 0 is
    perfect, and a useless score has `tpr`.

    Raises:
        UserError, NoNumber: see `check_scores`; or tpr is not in (0, 1].
    """
    check_scores(inside, outside)
    if not 0 < tpr <= 1:
        raise UserError(f"tpr={tpr}: it must be above 0 and at most 1")
    threshold = inside.sort(descending=True).values[math.ceil(tpr * len(inside) - 1e-9) - 1]
    p = (outside >= threshold).double().mean().item()
    return p, math.sqrt(p * (1 - p) / len(outside))


def knn_scores(bank: Tensor, codes: Tensor, k: int = 50) -> Tensor:
    """Minus the distance to the `k`-th nearest code of the bank, both scaled to length 1, [N]: Sun et al. 2022
    (2204.06507).

    Args:
        bank: codes of training rows, [M, D].
        codes: [N, D].
        k: rank of the neighbour; the bank's size if it has fewer codes.

        Raises:
            NoNumber: codes are not finite.
            TooFew: the bank is empty.
    """
    at_least(1, k=k)
    if not len(bank):
        raise TooFew("there are no training codes to compare with")
    if not (bank.isfinite().all() and codes.isfinite().all()):
        raise NoNumber("codes have NaN or infinite values, so that nothing is their neighbour")
    cosine = torch.cat([s[:, -1] for s, _ in nearest(bank, codes, k, "cosine")])
    return -(2 - 2 * cosine).clamp(min=0).sqrt()  # |a - b|^2 = 2 - 2 cos of vectors of length 1


def check_scores(inside: Tensor, outside: Tensor) -> None:
    """Refuses scores that would give a misleading number.

    Raises:
        UserError: scores that are not one-dimensional.
        TooFew: there are no scores.
        NoNumber: a score is NaN, or all are equal.
    """
    if inside.dim() != 1 or outside.dim() != 1:
        raise UserError(f"scores {list(inside.shape)} and {list(outside.shape)}: give [N] and [M]")
    if not len(inside) or not len(outside):
        raise TooFew(f"{len(inside)} rows inside and {len(outside)} outside: give some of both")
    if inside.isnan().any() or outside.isnan().any():
        raise NoNumber("scores have NaN values: the model has diverged")
    if (inside == inside[0]).all() and (outside == inside[0]).all():
        raise NoNumber("all scores are equal, so that they separate nothing")
