"""Intervals and differences over seeds: t intervals, t tests, Holm's correction."""

import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from frame.common.numbers import unsigned_zero

LEVEL = 0.95
TOGETHER = 10_000  # pairs that are tested at once, which bounds the memory
BOUNDS = {"%": (0.0, 100.0), "of 1": (0.0, 1.0)}  # the range of each unit
Label = TypeVar("Label")


@dataclass(frozen=True)
class Sample:
    """A metric over the seeds of one row.

    Args:
        values: by the seeds that paired runs share: the seed, and the seed of the data's order.
        mean: of the values.
        half: half of the t interval; NaN for one value.
        low, high: the ends of the interval, within the bounds of the unit (100 % for an accuracy); NaN for one value.
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
    def is_bent(self) -> bool:
        """Whether the interval is the logit's, and not symmetric."""
        return self.low > self.mean - self.half or self.high < self.mean + self.half


@dataclass(frozen=True)
class Difference:
    """Mean of a difference, half of its t interval, the two-sided p value of its t test, and the number of pairs.

    Without pairs (n = 0) it is a difference of means, and the test is Welch's. NaN for what is not known. If all pairs
    differ by the same amount, there is no test either: p is NaN, and `untold` is True.
    """

    mean: float
    half: float
    p: float
    n: int
    untold: bool = False


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Mean of independent values, and half of its t interval (NaN for one value)."""
    n = len(values)
    mean = float(np.mean(values))
    if n < 2:
        return mean, math.nan
    return mean, _quantile(n - 1, level) * float(np.std(values, ddof=1)) / math.sqrt(n)


@lru_cache(maxsize=1000)
def _quantile(freedom: int, level: float) -> float:
    """Half of the interval that holds `level` of Student's t."""
    from scipy.stats import t  # slow to import, and one run alone needs none

    return float(t.ppf((1 + level) / 2, freedom))


def ends(mean: float, half: float, values: Iterable[float], unit: str) -> tuple[float, float]:
    """Both ends of an interval. They are within the bounds of the unit if all values are.

    The t interval, mean ± half, if it fits. Else the interval of the logit of the mean by the delta method: its half is
    half / (p (1 - p)) for a mean of p.
    """
    low, high = BOUNDS.get(unit, (-math.inf, math.inf))
    if math.isnan(half):
        return math.nan, math.nan
    fits = low <= mean - half and mean + half <= high
    if fits or not all(low <= value <= high for value in values) or not low < mean < high:
        return mean - half, mean + half
    p = (mean - low) / (high - low)
    logit, wide = math.log(p / (1 - p)), half / (high - low) / (p * (1 - p))
    first, last = (low + (high - low) * _expit(at) for at in (logit - wide, logit + wide))
    return first, last


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def difference(values: Mapping[Any, float], others: Mapping[Any, float]) -> Difference:
    """The difference of `values` from `others`; see `differences`."""
    return differences([(values, others)])[0]


def differences(pairs: Sequence[tuple[Mapping[Any, float], Mapping[Any, float]]]) -> list[Difference]:
    """The difference of the first from the second of each pair.

    If both share two seeds or more, only these count, and the test is the paired t test. Otherwise all seeds count, and
    the test is Welch's if each has two or more; else there is no test.
    """
    found: dict[int, Difference] = {}
    # samples of the same sizes are tested at once
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
        for (at, _, _), mean, half, p, equal in zip(many, *(column.tolist() for column in columns), strict=True):
            found[at] = Difference(mean, half, p, n if m == 0 else 0, untold=equal)
    return [found[at] for at in range(len(pairs))]


def pairwise(samples: Sequence[Mapping[Any, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs i < j of samples that can be tested, and their p values as in `differences`; 1 if they do not vary.

    Fast for many samples: those of the same seeds are one array, and all pairs of the same sizes are tested at once.
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
        for start in range(0, len(i), TOGETHER):
            some = slice(start, start + TOGETHER)
            _, _, p, equal = _tested(a[some], b[some], paired=m == 0)
            parts.append(np.stack([np.minimum(i, j)[some], np.maximum(i, j)[some], np.where(equal, 1.0, p)]))
    first, second, p = np.concatenate(parts, axis=1)
    return first.astype(int), second.astype(int), p


def _is_tested(common: Sequence[Any], values: Collection[Any], others: Collection[Any]) -> bool:
    return len(common) >= 2 or min(len(values), len(others)) >= 2


def _mean(values: Mapping[Any, float]) -> float:
    return math.fsum(values.values()) / len(values)


def _tested(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[np.ndarray, ...]:
    """Mean, half and p for each row of values, and whether the differences do not vary; p is NaN then."""
    mean = (a - b).mean(1) if paired else a.mean(1) - b.mean(1)
    spread = (a - b).std(1) if paired else np.maximum(a.std(1), b.std(1))
    size = np.maximum(np.abs(a).max(1), np.abs(b).max(1))
    equal = spread <= 1e-9 * np.maximum(1e-300, size)  # equal up to rounding
    half, p = np.zeros(len(a)), np.full(len(a), math.nan)
    if not equal.all():
        from scipy.stats import ttest_ind, ttest_rel

        a, b = a[~equal], b[~equal]
        with warnings.catch_warnings():  # the values of one sample may be nearly equal
            warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
            test = ttest_rel(a, b, axis=1) if paired else ttest_ind(a, b, axis=1, equal_var=False)
        ends = test.confidence_interval(LEVEL)
        half[~equal], p[~equal] = (ends.high - ends.low) / 2, test.pvalue
    return mean, half, p, equal


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """P values adjusted so that the probability of any false finding stays at the level (Holm 1979). NaN stays NaN."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    after = np.full(len(p), math.nan)
    after[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(len(order), 0, -1) * p[order]))
    return [float(value) for value in after]


def adjusted(found: Sequence[Difference]) -> list[float]:
    """P values after Holm. Differences that do not vary count as tests, because that they do not is chance."""
    after = holm([1.0 if one.untold else one.p for one in found])
    return [math.nan if one.untold else p for one, p in zip(found, after, strict=True)]


def leads(values: Mapping[Any, float], others: Mapping[Any, float], less: bool) -> bool:
    """Whether the mean of `values` is better than that of `others`, over shared seeds if there are any."""
    common = [key for key in values if key in others]
    a, b = [values[key] for key in common or values], [others[key] for key in common or others]
    gain = float(np.mean(a) - np.mean(b)) * (-1 if less else 1)
    return gain > 1e-12 * max(map(abs, (*a, *b)))  # more than rounding


def ranked(samples: Mapping[Label, Mapping[Any, float]], less: bool) -> list[Label]:
    """The labels, the best mean first. A label moves up if it leads the one above it over the seeds that both have.

    So a label that leads all others is the first, however many seeds each has.
    """
    order: list[Label] = []
    for label in sorted(samples, key=lambda label: _mean(samples[label]) * (1 if less else -1)):
        at = len(order)
        while at and leads(samples[label], samples[order[at - 1]], less):
            at -= 1
        order.insert(at, label)
    return order


def shown(sample: Sample) -> str:
    """`mean ± half`, with two digits of the latter; `mean [low, high]` if the interval is not symmetric."""
    if not sample.is_bent:
        return spread(sample.mean, sample.half)
    digits = max(0, 1 - math.floor(math.log10(sample.high - sample.low)))
    return f"{sample.mean:.{digits}f} [{sample.low:.{digits}f}, {sample.high:.{digits}f}]"


def spread(mean: float, half: float, sign: str = "") -> str:
    if math.isnan(half) or half < 1e-9 * max(1.0, abs(mean)):  # only rounding
        return unsigned_zero(f"{mean:{sign}.5g}")
    digits = max(0, 1 - math.floor(math.log10(half)))
    return f"{unsigned_zero(f'{mean:{sign}.{digits}f}')} ± {half:.{digits}f}"
