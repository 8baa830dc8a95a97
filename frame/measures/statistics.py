"""Means and how far to trust them."""

import math

import torch
from torch import Tensor


def mean_and_standard_error(values: Tensor) -> tuple[float, float]:
    """Mean of independent `values` [N] and its standard error s / sqrt(N); NaN for the latter where N = 1."""
    values = values.double()
    if len(values) < 2:
        return values.mean().item(), math.nan
    return values.mean().item(), (values.std() / math.sqrt(len(values))).item()


def accuracy(log_probabilities: Tensor, y: Tensor) -> tuple[float, float]:
    """Fraction of rows [N, n_classes] whose largest entry is at `y` [N], and its binomial standard error."""
    return fraction(log_probabilities.argmax(-1) == y)


def fraction(right: Tensor) -> tuple[float, float]:
    """Fraction of rows [N] that are true, and its binomial standard error."""
    p = right.to(torch.float64).mean().item()
    return p, math.sqrt(p * (1 - p) / len(right))
