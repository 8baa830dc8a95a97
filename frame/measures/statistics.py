"""Means with standard errors and confidence intervals."""

import math

import torch
from torch import Tensor

from frame.common.errors import TooFew, UserError


def mean_and_standard_error(values: Tensor) -> tuple[float, float]:
    """Mean of independent `values` [N] and its standard error s / sqrt(N); the latter is NaN if N = 1."""
    values = values.double()
    if len(values) < 2:
        return values.mean().item(), math.nan
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


def t_interval(values: Tensor, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the mean of independent `values` [N] by Student's t: mean -+ t s / sqrt(N).

    It covers only what varies between values, not what they share, such as the rows from which all draws are taken.

    Raises:
        UserError: the level is not in (0, 1).
        TooFew: fewer than two values.
    """
    from scipy.stats import t  # imported here because it is slow

    if not 0 < level < 1:
        raise UserError(f"level={level}: give a number between 0 and 1, such as 0.95")
    if len(values) < 2:
        raise TooFew(f"{len(values)} values have no interval: give two or more")
    mean, error = mean_and_standard_error(values)
    if error == 0:
        return mean, mean
    low, high = t.interval(level, len(values) - 1, loc=mean, scale=error)
    return float(low), float(high)


def accuracy(log_probabilities: Tensor, y: Tensor) -> tuple[float, float]:
    """Fraction of rows [N, n_classes] whose largest entry is at `y` [N], and its binomial standard error."""
    return fraction(log_probabilities.argmax(-1) == y)


def fraction(right: Tensor) -> tuple[float, float]:
    """Fraction of rows [N] that are true, and its binomial standard error."""
    p = right.to(torch.float64).mean().item()
    return p, math.sqrt(p * (1 - p) / len(right))
