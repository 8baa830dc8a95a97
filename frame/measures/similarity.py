"""Similarity of two encoders, from codes [N, D1] and [N, D2] of the same rows."""

import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError, at_least
from frame.measures.geometry import finite
from frame.measures.neighbours import nearest


def cka(x: Tensor, y: Tensor, debiased: bool = True) -> float:
    """Linear centred kernel alignment: 1 if one is the other rotated, scaled and shifted.

    Kornblith et al. 2019 (1905.00414), eq. 3. For independent codes that is about D / (N + D) instead of 0. `debiased`
    replaces its three HSICs by unbiased ones (Song et al. 2012, eq. 5; Nguyen et al. 2021, 2010.15327, eq. 3): then it
    is near 0, and may be negative.

    Raises:
        UserError: see `pair`; or all codes of one side are equal.
    """
    x, y = pair(x, y, 4 if debiased else 2)
    x, y = x - x.mean(0), y - y.mean(0)
    if debiased:
        xy, xx, yy = (unbiased_hsic(a, b) for a, b in ((x, y), (x, x), (y, y)))
    else:
        # ||Y'X||^2 / (||X'X|| ||Y'Y||), without the N x N matrices
        xy, xx, yy = ((a.T @ b).square().sum() for a, b in ((x, y), (x, x), (y, y)))
    if xx <= 0 or yy <= 0:
        raise NoNumber("all codes of one side are equal: its encoder has collapsed")
    return (xy / (xx * yy).sqrt()).item()


def unbiased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """HSIC_1 of the linear kernels K = XX' and L = YY' with their diagonals set to 0, [N, D1] and [N, D2] -> ().

    1 / (N (N - 3)) (tr KL + 1'K1 1'L1 / ((N - 1)(N - 2)) - 2 / (N - 2) 1'KL1), from D1 x D2 matrices alone.
    """
    n = len(x)
    k_diagonal, l_diagonal = x.square().sum(1), y.square().sum(1)
    k_sums = x @ x.sum(0) - k_diagonal  # K1, [N]
    l_sums = y @ y.sum(0) - l_diagonal
    trace = (x.T @ y).square().sum() - (k_diagonal * l_diagonal).sum()
    middle = k_sums.sum() * l_sums.sum() / ((n - 1) * (n - 2))
    return (trace + middle - 2 / (n - 2) * (k_sums * l_sums).sum()) / (n * (n - 3))


def mutual_knn(x: Tensor, y: Tensor, k: int = 10) -> float:
    """The mean share of a row's `k` nearest rows, by cosine, that are the same in both; chance is k / (N - 1).

    Huh et al. 2024, "The platonic representation hypothesis" (2405.07987), appendix A.

    Raises:
        UserError: see `pair`; or there are no more than k rows.
    """
    at_least(1, k=k)
    x, y = pair(x, y, k + 2)
    ours, theirs = (
        torch.cat([index for _, index in nearest(codes, codes, k, "cosine", leave_one_out=True)]) for codes in (x, y)
    )  # [N, k]
    return (ours.unsqueeze(2) == theirs.unsqueeze(1)).any(2).double().mean().item()


def pair(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Both codes in float64.

    Raises:
        UserError: see `finite`; or the numbers of rows differ, or there are fewer than `least`.
    """
    if len(x) != len(y):
        raise UserError(f"{len(x)} and {len(y)} codes: give those of the same rows")
    if len(x) < least:
        raise TooFew(f"{len(x)} rows are too few: give at least {least}")
    return finite(x), finite(y)
