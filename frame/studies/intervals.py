"""Intervals and differences over seeds: t intervals, paired t tests, Holm's correction."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Sample:
    """A metric over the seeds of one row.

    Args:
        values: by what runs that are paired share: seed and seed of the data's order.
        mean: of them.
        half: half of the t interval; NaN for one value.
    """

    values: Mapping[Any, float]
    mean: float
    half: float


@dataclass(frozen=True)
class Difference:
    """Of paired values: mean, half of its t interval, the t test's p value, and how many pairs."""

    mean: float
    half: float
    p: float
    n: int


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Mean of independent values and half of its t interval; NaN for the latter where there is one."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return mean, math.nan
    return mean, float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))


def paired(values: Mapping[Any, float], others: Mapping[Any, float]) -> Difference:
    """Of `values` from `others` where both have a value; p of the two-sided t test that the mean is 0."""
    differences = [value - others[key] for key, value in values.items() if key in others]
    n = len(differences)
    if n == 0:
        return Difference(math.nan, math.nan, math.nan, 0)
    mean, half = interval(differences)
    spread = float(np.std(differences, ddof=1)) if n > 1 else math.nan
    # one pair tells nothing; differences that are equal but for the dust of their sums are no draws
    if n < 2 or spread < 1e-9 * max(1.0, abs(mean)):
        return Difference(mean, half, math.nan, n)
    t = mean / (spread / math.sqrt(n))
    return Difference(mean, half, float(2 * stats.t.sf(abs(t), n - 1)), n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, so that the chance of one false find among all stays at the level (Holm 1979). NaN stays."""
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = highest
    return adjusted


def shown(sample: Sample) -> str:
    """`mean ± half`, with two digits of the latter."""
    return spread(sample.mean, sample.half)


def spread(mean: float, half: float, sign: str = "") -> str:
    if math.isnan(half) or half < 1e-9 * max(1.0, abs(mean)):  # the dust of a sum is no spread
        return f"{mean:{sign}.5g}"
    digits = max(0, 1 - math.floor(math.log10(half)))
    return f"{mean:{sign}.{digits}f} ± {half:.{digits}f}"
