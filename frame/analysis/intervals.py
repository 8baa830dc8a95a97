"""Intervals and differences over seeds: t intervals, t tests, Holm's correction."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import

LEVEL = 0.95
BOUNDS = {"%": (0.0, 100.0), "of 1": (0.0, 1.0)}  # what a number of this unit cannot leave
Label = TypeVar("Label")


@dataclass(frozen=True)
class Sample:
    """A metric over the seeds of one row.

    Args:
        values: by what runs that are paired share: seed and seed of the data's order.
        mean: of them.
        half: half of the t interval; NaN for one value.
        low, high: its ends, cut where the unit ends (an accuracy at 100 %); NaN for one value.
    """

    values: Mapping[Any, float]
    mean: float
    half: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Mapping[Any, float], unit: str = "") -> "Sample":
        """The sample of finite values, at least one."""
        mean, half = interval([*values.values()])
        low, high = ends(mean, half, [*values.values()], unit)
        return cls(values, mean, half, low, high)

    @property
    def is_cut(self) -> bool:
        return self.low > self.mean - self.half or self.high < self.mean + self.half


@dataclass(frozen=True)
class Difference:
    """Mean of a difference, half of its t interval, the two-sided p value of its t test, and how many pairs it is of.

    Without pairs (n = 0) it is one of means, and the test is Welch's. NaN for what cannot be said; p is NaN, too, where
    all pairs differ by the same, which no test takes for a draw: `untold` says so.
    """

    mean: float
    half: float
    p: float
    n: int
    untold: bool = False


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Mean of independent values and half of its t interval; NaN for the latter where there is one."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return mean, math.nan
    return mean, float(stdtrit(n - 1, (1 + level) / 2) * np.std(values, ddof=1) / math.sqrt(n))


def ends(mean: float, half: float, values: Iterable[float], unit: str) -> tuple[float, float]:
    """Both ends of an interval, cut at the bounds of the unit where all values keep within them."""
    low, high = BOUNDS.get(unit, (-math.inf, math.inf))
    if not all(low <= value <= high for value in values):
        low, high = -math.inf, math.inf
    return (math.nan, math.nan) if math.isnan(half) else (max(mean - half, low), min(mean + half, high))


def difference(values: Mapping[Any, float], others: Mapping[Any, float]) -> Difference:
    """Of `values` from `others`; see `differences`."""
    return differences([(values, others)])[0]


def differences(pairs: Sequence[tuple[Mapping[Any, float], Mapping[Any, float]]]) -> list[Difference]:
    """Of the first from the second of each pair.

    Where both have two seeds or more in common, of these alone, by the paired t test; else of all, by Welch's, where
    each has two or more; else without a test.
    """
    found: dict[int, Difference] = {}
    # many are tested at once: they are sorted by their numbers of values
    together: dict[tuple[int, int], list[tuple[int, list[float], list[float]]]] = {}
    for at, (values, others) in enumerate(pairs):
        common = [key for key in values if key in others]
        if _is_tested(common, values, others):
            paired = len(common) >= 2
            one = [[each[key] for key in (common if paired else each)] for each in (values, others)]
            size = (len(common), 0) if paired else (len(values), len(others))
            together.setdefault(size, []).append((at, one[0], one[1]))
        else:
            mean = math.fsum(values[key] - others[key] for key in common) if common else _mean(values) - _mean(others)
            found[at] = Difference(mean, math.nan, math.nan, len(common))
    for (n, m), many in together.items():
        columns = _tested(np.array([a for _, a, _ in many]), np.array([b for _, _, b in many]), paired=m == 0)
        for (at, _, _), mean, half, p, dust in zip(many, *(column.tolist() for column in columns), strict=True):
            found[at] = Difference(mean, half, p, n if m == 0 else 0, untold=dust)
    return [found[at] for at in range(len(pairs))]


def pairwise(samples: Sequence[Mapping[Any, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pairs of samples can be tested, i < j, and their p values as in `differences`; 1 where they do not vary.

    Quick for many: samples of the same seeds are one array, and all pairs of as many values are tested at once.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, sample in enumerate(samples):
        groups.setdefault(tuple(sample), []).append(number)
    found: dict[tuple[int, int], list[tuple[np.ndarray, ...]]] = {}
    several = [*groups.items()]
    for at, (keys, mine) in enumerate(several):
        for others, theirs in several[at:]:
            left, right = np.meshgrid(mine, theirs, indexing="ij")
            i, j = left.ravel(), right.ravel()
            i, j = (i[i < j], j[i < j]) if mine is theirs else (i, j)
            seen = set(others)
            common = [key for key in keys if key in seen]
            if len(i) and _is_tested(common, keys, others):
                paired = len(common) >= 2
                a = np.array([[samples[n][key] for key in (common if paired else keys)] for n in mine])
                b = np.array([[samples[n][key] for key in (common if paired else others)] for n in theirs])
                places = (np.searchsorted(mine, i), np.searchsorted(theirs, j))
                size = (len(common), 0) if paired else (len(keys), len(others))
                found.setdefault(size, []).append((i, j, a[places[0]], b[places[1]]))
    parts = [np.empty((3, 0))]
    for (_, m), many in found.items():
        i, j, a, b = (np.concatenate(columns) for columns in zip(*many, strict=True))
        _, _, p, dust = _tested(a, b, paired=m == 0)
        parts.append(np.stack([np.minimum(i, j), np.maximum(i, j), np.where(dust, 1.0, p)]))
    first, second, p = np.concatenate(parts, axis=1)
    return first.astype(int), second.astype(int), p


def _is_tested(common: Sequence[Any], values: Collection[Any], others: Collection[Any]) -> bool:
    return len(common) >= 2 or min(len(values), len(others)) >= 2


def _mean(values: Mapping[Any, float]) -> float:
    return math.fsum(values.values()) / len(values)


def _tested(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[np.ndarray, ...]:
    """Mean, half, p (NaN where it does not vary), and whether it does not, for each row of values."""
    mean = (a - b).mean(1) if paired else a.mean(1) - b.mean(1)
    spread = (a - b).std(1) if paired else np.maximum(a.std(1), b.std(1))
    size = np.maximum(np.abs(a).max(1), np.abs(b).max(1))
    dust = spread <= 1e-9 * np.maximum(1e-300, size)  # equal but for the rounding of sums
    half, p = np.zeros(len(a)), np.full(len(a), math.nan)
    if not dust.all():
        a, b = a[~dust], b[~dust]
        n, m = a.shape[1], b.shape[1]
        if paired:
            error, freedom = (a - b).std(1, ddof=1) / math.sqrt(n), np.full(len(a), n - 1.0)
        else:  # Welch's
            of_a, of_b = a.var(1, ddof=1) / n, b.var(1, ddof=1) / m
            error, freedom = np.sqrt(of_a + of_b), (of_a + of_b) ** 2 / (of_a**2 / (n - 1) + of_b**2 / (m - 1))
        half[~dust] = stdtrit(freedom, (1 + LEVEL) / 2) * error
        p[~dust] = 2 * stdtr(freedom, -np.abs(mean[~dust]) / error)
    return mean, half, p, dust


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """Adjusted p values, so that the chance of one false find among all stays at the level (Holm 1979). NaN stays."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    after = np.full(len(p), math.nan)
    after[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(order), 0, -1) * p[order]))
    return [float(value) for value in after]


def adjusted(found: Sequence[Difference]) -> list[float]:
    """Their p values after Holm; differences that do not vary count as tests, since chance decides which they are."""
    after = holm([1.0 if one.untold else one.p for one in found])
    return [math.nan if one.untold else p for one, p in zip(found, after, strict=True)]


def leads(values: Mapping[Any, float], others: Mapping[Any, float], less: bool) -> bool:
    """Whether the mean of `values` is better than that of `others`, over the seeds that both have, if any."""
    common = [key for key in values if key in others]
    a, b = [values[key] for key in common or values], [others[key] for key in common or others]
    gain = float(np.mean(a) - np.mean(b)) * (-1 if less else 1)
    return gain > 1e-12 * max(map(abs, (*a, *b)))  # more than the rounding of sums


def ranked(samples: Mapping[Label, Mapping[Any, float]], less: bool) -> list[Label]:
    """The labels, the best mean first; who leads the one above over the seeds that both have stands above it.

    So one that leads all others is the first, however many seeds each has.
    """
    order: list[Label] = []
    for label in sorted(samples, key=lambda label: _mean(samples[label]) * (1 if less else -1)):
        at = len(order)
        while at and leads(samples[label], samples[order[at - 1]], less):
            at -= 1
        order.insert(at, label)
    return order


def shown(sample: Sample) -> str:
    """`mean ± half`, with two digits of the latter."""
    return spread(sample.mean, sample.half)


def spread(mean: float, half: float, sign: str = "") -> str:
    if math.isnan(half) or half < 1e-9 * max(1.0, abs(mean)):  # the dust of a sum is no spread
        return f"{mean:{sign}.5g}"
    digits = max(0, 1 - math.floor(math.log10(half)))
    return f"{mean:{sign}.{digits}f} ± {half:.{digits}f}"
