"""The lines of a figure from the numbers of many runs: which runs are repetitions, and the points of each line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frame.analysis.compare import counted
from frame.analysis.intervals import ends, interval
from frame.analysis.protocols import one_protocol
from frame.analysis.rows import by_seed, one_a_seed
from frame.common.errors import Damaged, UserError, choices
from frame.common.numbers import counted as number_of
from frame.common.output import say
from frame.runs.listing import RunSummary, as_number, find, shown, varying
from frame.runs.metrics import columns

COSTS = ("parameters", "encoder_parameters", "flops_per_sample", "flops", "epochs", "seconds")
PROGRESS = {
    "iterations": "iterations",
    "epochs": "epochs",
    "seconds": "training time (s)",
    "samples": "samples drawn in training",
    "flops": "FLOPs of training",
}


MOST_POINTS = 20_000  # per line; a figure is some thousand pixels wide


@dataclass
class Series:
    """Points of one line, each with the values that it is a mean of."""

    label: str
    x: list[Any]
    values: list[list[float]]
    unit: str = ""
    every: int = 1  # if there are too many points, one in so many is drawn

    def points(self, band: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and the ends of its band, which are NaN for one value."""
        means = np.array([np.mean(v) for v in self.values])
        low, high = np.array([self._ends(v, band) for v in self.values]).T
        return means, low, high

    def _ends(self, values: Sequence[float], band: str) -> tuple[float, float]:
        mean, half = interval(values)
        if band == "ci":
            return ends(mean, half, values, self.unit)
        deviation = float(np.std(values, ddof=1)) if band == "sd" and len(values) > 1 else math.nan
        return ends(mean, deviation, values, self.unit)


def finished(places: Sequence[str | Path] | Sequence[RunSummary]) -> tuple[list[RunSummary], list[str]]:
    """The finished runs of these places or summaries, and a note on the others.

    Raises:
        UserError: no run is finished.
    """
    read = [place for place in places if isinstance(place, RunSummary)]
    done, others = counted(read or find([place for place in places if not isinstance(place, RunSummary)]))
    if not done:
        raise UserError(f"none of {number_of(len(others), 'runs')} is finished: `frame list` shows their states")
    return done, [f"{len(others)} of {len(done) + len(others)} runs are not finished and left out"] if others else []


def label(keys: Sequence[str], summary: RunSummary) -> str:
    return ", ".join(f"{key.removeprefix('params.')}={shown(summary.get(key))}" for key in keys)


def repeated(summaries: Sequence[RunSummary], keys: Sequence[str]) -> dict[tuple[Any, ...], list[RunSummary]]:
    """Runs that are repetitions of one another: they agree in `keys`, and in all parameters.

    Raises:
        UserError: no run has a key, or runs that agree in the keys differ in a parameter.
    """
    groups: dict[tuple[Any, ...], list[RunSummary]] = {}
    known = {key for summary in summaries for key in summary.keys()}
    for key in keys:
        if all(summary.get(key) is None for summary in summaries):
            raise UserError(choices(key, known, kind="key of these runs"))
    for summary in summaries:
        groups.setdefault(tuple(summary.get(key) for key in keys), []).append(summary)
    for group in groups.values():
        differ = settings(group)
        if differ:
            where = label(keys, group[0]) or "this study"
            more = ", ".join(differ[:3])
            raise UserError(f"the runs of {where} differ in {more}, which is not averaged: add it to hue=...")
    return dict(sorted(groups.items(), key=lambda item: [order(value) for value in item[0]]))


def order(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (False, float(value), "") if number else (True, 0.0, str(value))


def settings(summaries: Sequence[RunSummary]) -> list[str]:
    """The keys that tell settings apart: the variant or experiment if there are several, and what varies within one.

    Parameters that differ only between experiments are left out, because the experiments' names tell them apart.
    """
    groups: dict[str, list[RunSummary]] = {}
    for summary in summaries:
        groups.setdefault(str(summary.variant or summary.typed_experiment), []).append(summary)
    keys = ["variant" if summaries[0].variant else "experiment"] if len(groups) > 1 else []
    for group in groups.values():
        keys += [key for key in ("model", "data") if len({s.get(key) for s in group}) > 1]
        keys += [key for key in varying(group) if key != "seed"]
    return list(dict.fromkeys(keys))


def unit_of(summaries: Sequence[RunSummary], y: str) -> str:
    """The unit of a metric, which all these runs measured in the same way.

    Raises:
        UserError: no run has it, or it was measured in several ways.
    """
    records = [record for summary in summaries if (record := summary.record(y)) is not None]
    if records:
        return str(one_protocol(y, records)["unit"] or "")
    if y in COSTS and any(summary.get(y) is not None for summary in summaries):
        return {"seconds": "s"}.get(y, "")
    raise UserError(choices(y, [*{name for s in summaries for name in s.newest}, *COSTS], kind="metric of these runs"))


def values(summaries: Sequence[RunSummary], x: str, y: str, hue: Sequence[str] = ()) -> list[Series]:
    """A metric over a key of the runs, with one value per seed; see `by_seed`."""
    unit = unit_of(summaries, y)
    series: dict[Any, Series] = {}
    for key, group in repeated(summaries, [*hue, x]).items():
        found = [*by_seed(group, y).values()]
        if found and key[-1] is not None:
            line = series.setdefault(key[:-1], Series(label(hue, group[0]) if hue else y, [], [], unit))
            line.x.append(key[-1])
            line.values.append(found)
    return [*series.values()]


def curves(summaries: Sequence[RunSummary], x: str, y: str, hue: Sequence[str] = ()) -> list[Series]:
    """A metric over training, interpolated between its measurements if runs were measured at different iterations."""
    keys = list(hue) or settings(summaries)
    series = []
    for group in repeated(summaries, keys).values():
        courses = _courses([*one_a_seed(group).values()], x, y)
        if not courses:
            continue
        first, last = max(c[0, 0] for c in courses), min(c[-1, 0] for c in courses)
        at = np.unique(np.concatenate([c[:, 0] for c in courses]))
        at = at[(at >= first) & (at <= last)]
        if not len(at):
            raise UserError(f"the runs of {label(keys, group[0])} have no iterations of {y} in common")
        every = -(-len(at) // MOST_POINTS)
        at = np.unique(np.append(at[::every], at[-1]))
        position = np.mean([np.interp(at, c[:, 0], c[:, 1]) for c in courses], axis=0)
        height = np.stack([np.interp(at, c[:, 0], c[:, 2]) for c in courses])
        series.append(Series(label(keys, group[0]) or y, position.tolist(), height.T.tolist(), _unit(group, y), every))
    return series


def _unit(summaries: Sequence[RunSummary], y: str) -> str:
    """The unit of a measured metric; '' for a logged number."""
    return next((str(s.newest[y]["unit"] or "") for s in summaries if y in s.newest), "")


def _courses(summaries: Sequence[RunSummary], x: str, y: str) -> list[np.ndarray]:
    """The course of each run. Damaged runs are named on stderr and left out."""
    found = []
    for summary in summaries:
        try:
            course = _course(summary, x, y)
        except Damaged as damaged:
            say(f"left out: {damaged}")
            continue
        found += [course] if len(course) else []
    return found


def _course(summary: RunSummary, x: str, y: str) -> np.ndarray:
    """Iteration, position on the axis and value [N, 3] of one run's measurements, or else of its logged numbers."""
    found = {record["iteration"]: (record["seconds"], record["value"]) for record in summary.course(y)}
    if found:
        points = np.array([(i, seconds, value) for i, (seconds, value) in found.items()], dtype=float)
    else:
        logged = columns(summary.run.path, ("iteration", "seconds", y))
        none = np.full(len(logged["iteration"]), math.nan)
        points = np.array([logged["iteration"], logged["seconds"], logged.get(y, none)], dtype=float).T
        points = points[~np.isnan(points[:, 2])]
    # the later of two rows of one iteration counts
    _, there = np.unique(points[::-1, 0], return_index=True)
    points = points[::-1][there]
    counters = summary.status.get("counters") or {}
    n = counters.get("iterations") or math.nan
    batch = summary.head["batch_size"] or as_number(summary.get("optimization.batch_size")) or math.nan
    factor = {  # units per iteration, on average
        "iterations": 1.0,
        "epochs": (counters.get("epochs") or math.nan) / n,
        "samples": counters["samples"] / n if counters.get("samples") else batch,
        "flops": (summary.get("flops") or math.nan) / n,
    }.get(x, math.nan)
    course = np.stack([points[:, 0], points[:, 1] if x == "seconds" else points[:, 0] * factor, points[:, 2]], axis=1)
    if np.isnan(course[:, 1]).any():
        raise UserError(
            f"{x} of {summary.run.path} are not known: an older version made it; x=iterations and x=seconds are"
        )
    return course
