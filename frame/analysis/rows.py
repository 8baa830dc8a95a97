"""Rows of a comparison: which runs count, their differences with tests, and the winner."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from frame.analysis.intervals import LEVEL, Difference, Sample, adjusted, differences, holm, pairwise, ranked
from frame.common.errors import UserError, choices
from frame.common.numbers import counted
from frame.runs.listing import RunSummary


@dataclass
class Row:
    """Runs that agree in the keys of the rows."""

    label: tuple[str, ...]
    runs: list[RunSummary] = field(default_factory=list)
    samples: dict[str, Sample] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    bold: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)
    chosen: bool = False

    @property
    def name(self) -> str:
        return ", ".join(self.label)


def pair(summary: RunSummary) -> Any:
    """What paired runs share: the seeds of the initial weights and of the data's order."""
    seeds = [summary.get(key) for key in ("seeds.init", "seeds.data")]
    return tuple(str(seed) for seed in seeds) if None not in seeds else str(summary.get("seed"))


def measured(runs: Sequence[RunSummary], metric: str) -> list[tuple[RunSummary, dict[str, Any]]]:
    return [(run, record) for run in runs if (record := run.record(metric)) is not None]


def one_a_seed(runs: Sequence[RunSummary]) -> dict[Any, RunSummary]:
    """The newest run of each seed, by the names of the folders, which are times."""
    return {pair(summary): summary for summary in sorted(runs, key=lambda summary: summary.run.path.name)}


def by_seed(runs: Sequence[RunSummary], key: str) -> dict[Any, float]:
    """A metric or a cost for each seed, from the newest run that has it. Leaves out NaN and infinities."""
    found = {pair: finite(s.get(key)) for pair, s in one_a_seed([s for s in runs if s.get(key) is not None]).items()}
    return {pair: value for pair, value in found.items() if value is not None}


def finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def ranked_rows(rows: Sequence[Row], metric: str, better: str) -> list[Row]:
    """The rows that have the metric, the best first; see `ranked`."""
    have = {row.label: row for row in rows if metric in row.samples}
    values: Mapping[tuple[str, ...], Mapping[Any, float]] = {
        label: row.samples[metric].values for label, row in have.items()
    }
    return [have[label] for label in ranked(values, better == "less")]


def best_of(rows: Sequence[Row], metric: str, better: str) -> Row:
    return ranked_rows(rows, metric, better)[0]


def left_out(found: Sequence[Row], metric: str) -> list[str]:
    """Notes on values that means leave out, on cut or missing intervals, and on seeds that not all rows have."""
    notes = []
    for row in found:
        lost = sum(finite(record["value"]) is None for _, record in measured(row.runs, metric))
        if lost:
            notes.append(f"{row.name}: {counted(lost, 'runs')} left out, whose {metric} is NaN or infinite")
    have = [(row, row.samples[metric]) for row in found if metric in row.samples]
    bent = [f"{row.name} {sample.low:.5g} to {sample.high:.5g}" for row, sample in have if sample.is_bent]
    if bent:
        notes.append(
            f"intervals of {metric} on the logit's scale, since t intervals would leave the unit's bounds: {_few(bent)}"
        )
    single = [row.name for row, sample in have if len(sample.values) == 1]
    if single and len(have) > 1:
        notes.append(f"{metric}: {_few(single)}: one seed has no interval, and is not tested")
    seeds = [set(sample.values) for _, sample in have]
    common = set.intersection(*seeds) if seeds else set()
    beyond = [f"{row.name} {len(sample.values)}" for row, sample in have if set(sample.values) != common]
    if beyond:
        notes.append(
            f"{metric}: means are over all runs of a row, paired differences over the seeds that both rows have; "
            f"{len(common)} seeds are in all rows, more in {_few(beyond)}"
        )
    return notes


def differ(found: Sequence[Row], everything: Sequence[Row], metric: str, against: str | None, better: str) -> list[str]:
    """Fills in differences, and marks a row that is better than every other after Holm's correction over all pairs.

    If neither more nor less is better, no row is marked, and differences are from the row with the largest mean.

    Args:
        found: the rows that are shown.
        everything: the rows that they were chosen from.
    """
    have = [row for row in found if metric in row.samples]
    if len(have) < 2:
        return []
    best = best_of(have, metric, better)
    from_best, n_tests = _tests_of_all(have, everything, best, metric)
    reference, shown_ones = best, from_best
    if against not in (None, "best"):
        reference = _named(have, str(against))
        rest = [row for row in everything if metric in row.samples and row is not reference]
        shown_ones, n_tests = _tests(rest, reference, metric)
    for row in have:
        if row is not reference:
            row.differences[metric] = shown_ones[row.label]
    notes = [
        f"differences of {metric} are from {reference.name}; p after Holm over {counted(n_tests, 'tests')} against it"
    ]
    if against in (None, "best"):
        notes = [
            f"differences of {metric} are from {best.name}, the best; p after Holm over all {n_tests} pairs of rows"
        ]
        notes[0] += ", since it was chosen by these numbers: against=ROW names one beforehand" if n_tests > 1 else ""
    notes += _untested(have, reference, metric)
    sign = 1 if better == "less" else -1
    ties = [
        row.name
        for row in have
        if row is not best and not ((one := from_best[row.label]).p < 1 - LEVEL and one.mean * sign > 0)
    ]
    if not better:
        notes.append(f"{metric}: neither more nor less of it is better, so there is no winner")
    elif ties:
        notes.append(f"no winner in {metric}: {best.name} is not significantly better than {'; '.join(ties[:3])}")
    else:
        best.bold.add(metric)
    return notes


def _named(rows: Sequence[Row], label: str) -> Row:
    labels = {",".join(row.label): row for row in rows}
    if label not in labels:
        raise UserError(f"against: {choices(label, labels, kind='row')}")
    return labels[label]


Found = tuple[dict[tuple[str, ...], Difference], int]


def _tests(rows: Sequence[Row], reference: Row, metric: str) -> Found:
    """Differences from the reference, by label, with p after Holm over these rows; and the number of tests."""
    found = differences([(row.samples[metric].values, reference.samples[metric].values) for row in rows])
    after = adjusted(found)
    mine = {row.label: replace(one, p=p) for row, one, p in zip(rows, found, after, strict=True)}
    return mine, sum(one.untold or not math.isnan(one.p) for one in found)


def _tests_of_all(have: Sequence[Row], everything: Sequence[Row], best: Row, metric: str) -> Found:
    """The same, from the best row, with p after Holm over all pairs of the rows that it was chosen from."""
    rows = [row for row in everything if metric in row.samples]
    first, second, p = pairwise([row.samples[metric].values for row in rows])
    after = np.array(holm(p))
    here = next(i for i, row in enumerate(rows) if row is best)
    with_best = (first == here) | (second == here)
    of = {
        rows[i + j - here].label: value
        for i, j, value in zip(first[with_best], second[with_best], after[with_best], strict=True)
    }
    others = [row for row in have if row is not best]
    found, _ = _tests(others, best, metric)
    return {
        label: replace(one, p=math.nan if one.untold else of.get(label, math.nan)) for label, one in found.items()
    }, len(p)


def _untested(have: Sequence[Row], reference: Row, metric: str) -> list[str]:
    """Notes on differences that are not paired or not tested."""
    others = [(row.name, row.differences[metric]) for row in have if row is not reference]
    unpaired = [name for name, one in others if one.n == 0]
    same = [name for name, one in others if one.untold]
    alone = [name for name, one in others if math.isnan(one.half)]
    notes = []
    if unpaired:
        notes.append(
            f"{metric}: {_few(unpaired)} and {reference.name} have fewer than two seeds in common: their difference is "
            "one of means, tested by Welch's t test if both have two runs or more"
        )
    if same:
        notes.append(f"{metric}: {_few(same)} differ by the same for each seed, which no t test can judge")
    if alone:
        notes.append(f"{metric}: {_few(alone)} and {reference.name} are too few runs for a test")
    return notes


def _few(names: Sequence[str]) -> str:
    return "; ".join(names[:3]) + ("; ..." if len(names) > 3 else "")
