"""`frame compare`: a table with a row per setting, with intervals over seeds and paired differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from frame.analysis.families import COLUMNS, known_of, shared, trials
from frame.analysis.intervals import Sample, shown
from frame.analysis.protocols import one_protocol, said
from frame.analysis.rows import Row, best_of, by_seed, differ, finite, left_out, measured, pair, ranked_rows
from frame.common import selection
from frame.common.errors import UserError, choices
from frame.common.numbers import counted as number_of
from frame.runs.folder import RunFolder
from frame.runs.listing import RunSummary, summaries, varying

SPLITS = {"train": "Train", "valid": "Validation", "test": "Test"}


@dataclass
class Comparison:
    """A table and the notes below it. By metric: its unit, what is better, and its protocol."""

    keys: list[str]
    metrics: list[str]
    columns: list[str]
    rows: list[Row]
    floors: dict[str, dict[str, Sample]]
    units: dict[str, str]
    better: dict[str, str]
    protocols: dict[str, str]
    notes: list[str]


def counted(runs: Sequence[RunFolder] | Sequence[RunSummary]) -> tuple[list[RunSummary], list[RunSummary]]:
    """The finished runs and the others, with only the newest run of a sweep's cell. See `frame.runs.listing`.

    Raises:
        UserError: no run can be read.
    """
    found = summaries(_newest(runs))
    return [s for s in found if s.state == "finished"], [s for s in found if s.state != "finished"]


def _newest(runs: Sequence[RunFolder] | Sequence[RunSummary]) -> Sequence[RunFolder] | Sequence[RunSummary]:
    """The runs, with only the newest of a sweep's cell, so that the others are not read."""
    folders = [run for run in runs if isinstance(run, RunFolder)]
    if not folders:
        return runs
    newest: dict[Path, RunFolder] = {}
    is_study: dict[Path, bool] = {}
    for run in folders:
        cell = run.path.parent
        study = cell.parent.parent
        if study not in is_study:
            is_study[study] = (study / "sweep.yaml").exists()
        newest[cell if is_study[study] else run.path] = run  # sorted: the newest is the last
    return [*newest.values()]


class How(TypedDict, total=False):
    """Options of `compare` besides rows and metrics.

    Args:
        select: 'valid', or a metric. One row is chosen by it, and reported with its other metrics.
        within: a key, such as 'experiment'. A row is chosen for each of its values; all other rows are left out.
        against: the label of the row that differences are from (values joined by commas), named before the numbers are
            seen. None or 'best': the best row; the p values then correct for that choice.
        minimize: metrics for which less is better, if their records do not say so (those of own evaluations).
        columns: more keys, whose means are shown: 'parameters', 'encoder', 'augmentation', 'layer', 'trials' (settings
            of the row's experiment that were tried), 'epochs', 'seconds', 'flops', ... None: those that tell families
            apart if there are several models, else none.
        sort: a metric by which the rows are sorted, the best first. None: they are sorted by their labels.
        allow_test: allows `select` and `sort` to use a metric measured on test; a note then says so.
    """

    select: str | None
    within: str | None
    against: str | None
    minimize: Sequence[str]
    columns: Sequence[str] | None
    sort: str | None
    allow_test: bool


@dataclass(frozen=True)
class Question:
    """The arguments of `compare`; see there and `How`."""

    rows: Sequence[str]
    metrics: Sequence[str]
    select: str | None = None
    within: str | None = None
    against: str | None = None
    minimize: Sequence[str] = ()
    columns: Sequence[str] | None = None
    sort: str | None = None
    allow_test: bool = False

    @property
    def by(self) -> str | None:
        """The metric that a row is chosen by. If `select` is a split: the first metric, on that split."""
        if self.select not in SPLITS:
            return self.select
        first = self.metrics[0]
        titles = [part for part in first.split("/") if part in SPLITS.values()]
        return first.replace(titles[0], SPLITS[self.select], 1) if titles else first

    @property
    def measured(self) -> list[str]:
        """The metrics that are shown, chosen by or sorted by, each once."""
        return list(dict.fromkeys((*self.metrics, *(name for name in (self.by, self.sort) if name))))


def compare(
    runs: Sequence[RunFolder] | Sequence[RunSummary],
    rows: Sequence[str],
    metrics: Sequence[str],
    **how: Unpack[How],
) -> Comparison:
    """Groups runs by the keys in `rows` and puts their metrics side by side.

    Args:
        runs: of one study, or of several.
        rows: keys of `frame list`, such as 'params.beta', 'model' or 'experiment'.
        metrics: names of results.
        how: see `How`.

    Raises:
        UserError: no run is finished; a key, metric or row is unknown; a metric was measured in several ways; or a row
            would be chosen on test.
    """
    asked = Question(rows, metrics, **how)
    finished, others = counted(runs)
    if not finished:
        raise UserError(f"none of {number_of(len(runs), 'runs')} is finished: `frame list` shows their states")
    columns = _telling_apart(finished) if asked.columns is None else asked.columns
    _check_keys(finished, asked, columns)
    _check_metrics(finished, asked)
    notes = _on_test(finished, asked.by, asked.sort, asked.allow_test)
    found = _grouped(finished, rows)
    units, better, protocols = _sampled(found, finished, asked)
    notes += [f"{metric}: {protocol}" for metric, protocol in protocols.items()]
    tried = trials([*finished, *others]) if "trials" in columns else {}
    for row in found:
        row.facts = {key: shared(row.runs, key, tried) for key in columns if key != "layer"}
        row.facts |= {"layer": _layer(row, metrics[0])}
    notes += _missing(found, others, rows, metrics) + _cut(found)
    chosen_from = found  # the best could be any of them by chance
    found = _chosen(found, asked, units, better, notes) if asked.by else found
    for metric in metrics:
        notes += left_out(found, metric)
        notes += differ(found, chosen_from, metric, asked.against, better[metric])
    if asked.sort:
        place = {row.label: i for i, row in enumerate(ranked_rows(found, asked.sort, better[asked.sort]))}
        found.sort(key=lambda row: place.get(row.label, math.inf))
    floors = _floors(finished, metrics)
    notes += _uneven(floors)
    return Comparison([*rows], [*metrics], [*columns], found, floors, units, better, protocols, notes)


def _telling_apart(finished: Sequence[RunSummary]) -> list[str]:
    """The columns that distinguish families of models; none if there is one model."""
    if len({summary.get("model") for summary in finished}) == 1:
        return []
    return [key for key in COLUMNS if key == "trials" or known_of(finished, key)]


def _check_keys(finished: Sequence[RunSummary], asked: Question, columns: Sequence[str]) -> None:
    """Raises UserError if no run has one of the keys that are asked for."""
    keys = [*asked.rows, *(key for key in columns if key not in ("trials", "layer"))]
    for key in keys + ([asked.within] if asked.within else []):
        if not known_of(finished, key):
            known = {key for summary in finished for key in summary.keys()} | {"seed", *COLUMNS, "layer"}
            raise UserError(choices(key, known, kind="key of these runs"))
    if asked.within is not None and asked.select is None:
        raise UserError(f"within={asked.within} needs select=valid, by which a row is chosen for each {asked.within}")


def _check_metrics(finished: Sequence[RunSummary], asked: Question) -> None:
    """Raises UserError if no run has one of the metrics that are asked for."""
    for metric in dict.fromkeys((*asked.measured, *asked.minimize)):
        if not any(summary.record(metric) for summary in finished):
            results = {name for summary in finished for name in summary.newest}
            is_at = metric.partition("@")[0] in results
            at = "; after @, write one of its iterations, or a time such as @90s" if is_at else ""
            raise UserError(choices(metric, results, kind="result of these runs") + at)


def _sampled(
    found: Sequence[Row], finished: Sequence[RunSummary], asked: Question
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Fills in the samples of each row. Returns each metric's unit, which direction is better, and its protocol."""
    units, better, protocols = {}, {}, {}
    for metric in asked.measured:
        records = [record for _, record in measured(finished, metric)]
        common = one_protocol(metric, records, but=["layer"])
        units[metric] = common["unit"]
        better[metric] = "less" if metric in asked.minimize else str(records[-1].get("better", "more"))
        layers = list(dict.fromkeys(layer for row in found if (layer := _layer(row, metric, said=True))))
        protocols[metric] = f"{said(common, layers)}{'; less is better' if better[metric] == 'less' else ''}"
        for row in found:
            values = by_seed(row.runs, metric)
            if values:
                row.samples[metric] = Sample.of(values, units[metric])
    return units, better, protocols


def _chosen(
    found: list[Row], asked: Question, units: Mapping[str, str], better: Mapping[str, str], notes: list[str]
) -> list[Row]:
    """The rows that are shown: the best one is marked, or only the best of each value of `within` is kept."""
    by = asked.by or ""
    if not any(by in row.samples for row in found):
        raise UserError(f"select={by}: no run has a finite number of it")
    if asked.within:
        return _best_within(found, asked.within, by, better[by], notes)
    best = best_of(found, by, better[by])
    best.chosen = True
    notes.append(f"{best.name} is chosen by {by}, {shown(best.samples[by])} {units[by]}".rstrip())
    return found


def _layer(row: Row, metric: str, said: bool = False) -> str:
    """The layer whose codes a row's metric is of; `said`: with the network that it is the output of."""
    records = [record for _, record in measured(row.runs, metric)]
    layer = str(one_protocol(metric, records)["layer"] or "") if records else ""
    network = records[-1].get("network") if said and layer else ""
    return f"{layer} (of the {network})" if network else layer


def _best_within(found: Sequence[Row], within: str, by: str, better: str, notes: list[str]) -> list[Row]:
    """The best row for each value of a key; notes how many rows there were."""
    groups: dict[str, list[Row]] = {}
    for row in found:
        if by in row.samples:
            groups.setdefault(str(row.runs[0].get(within)), []).append(row)
    kept = []
    for value, group in groups.items():
        kept.append(best_of(group, by, better))
        if len(group) > 1:
            notes.append(f"{value}: {kept[-1].name} is the best of {len(group)} rows by {by}")
    return kept


def _on_test(finished: Sequence[RunSummary], by: str | None, sort: str | None, allowed: bool) -> list[str]:
    """Notes on what is chosen on test, in these rows and in training. Raises UserError if that is not allowed."""
    said = [
        selection.check(
            what, metric, [record for _, record in measured(finished, metric)], allowed, "a row is not chosen on test"
        )
        for what, metric in (("select", by), ("sort", sort))
        if metric
    ]
    trained = sum(summary.get(selection.ALLOW) is True for summary in finished)
    said += [
        f"{number_of(trained, 'runs')} trained with {selection.ALLOW}=true: what is kept may be chosen on test"
    ] * (trained > 0)
    return [note for note in said if note]


def _grouped(finished: Sequence[RunSummary], keys: Sequence[str]) -> list[Row]:
    found: dict[tuple[str, ...], Row] = {}
    for summary in finished:
        label = tuple(str(summary.get(key)) for key in keys)
        found.setdefault(label, Row(label)).runs.append(summary)
    return [found[label] for label in sorted(found, key=_order)]


def _order(label: tuple[str, ...]) -> list[tuple[bool, float, str]]:
    order = []
    for text in label:
        try:
            order.append((False, float(text), ""))
        except ValueError:
            order.append((True, 0.0, text))
    return order


def _missing(
    found: Sequence[Row], others: Sequence[RunSummary], keys: Sequence[str], metrics: Sequence[str]
) -> list[str]:
    """Notes on runs and numbers that are not in the table, one per row."""
    notes = []
    waiting: dict[tuple[str, ...], list[RunSummary]] = {}
    for summary in others:
        waiting.setdefault(tuple(str(summary.get(key)) for key in keys), []).append(summary)
    most = max(len({pair(s) for s in row.runs}) for row in found)
    for row in found:
        mixed = [key for key in varying(row.runs) if key not in (*keys, "seed")]
        one_of = len({pair(s) for s in row.runs})
        differ = f" though they differ in {', '.join(mixed)}" if mixed else ""
        if one_of < len(row.runs):  # the last one of each seed, by its folder's name
            notes.append(
                f"{row.name}: of {len(row.runs)} runs only the newest of each seed counts, {one_of} in all{differ}; "
                f"rows={','.join([*keys, *mixed])} separates them"
            )
        elif mixed:
            notes.append(f"{row.name}: its runs differ in {', '.join(mixed)} and are averaged; rows=... separates them")
        states = [f"seed {s.get('seed')} {s.state}" for s in waiting.pop(row.label, [])]
        n = len({pair(s) for s in row.runs})
        if n < most or states:
            notes.append(f"{row.name}: {number_of(max(most - n, len(states)), 'runs')} missing" + _listed(states))
        for metric in metrics:
            without = sum(s.record(metric) is None for s in row.runs)
            if without:
                notes.append(f"{row.name}: {number_of(without, 'runs')} without {metric}: frame evaluate measures it")
    n_rest = sum(map(len, waiting.values()))
    return notes + ([f"{number_of(n_rest, 'more runs')} not finished and in no row"] if n_rest else [])


def _cut(found: Sequence[Row]) -> list[str]:
    """Notes on rows with runs that ended before their schedules did."""
    notes = []
    for row in found:
        cut = [summary.status["unfinished"] for summary in row.runs if summary.status.get("unfinished")]
        if cut:
            names = ", ".join(dict.fromkeys(name for several in cut for name in several))
            notes.append(f"{row.name}: {len(cut)} of {len(row.runs)} runs ended inside the schedule of {names}")
    return notes


def _listed(states: Sequence[str]) -> str:
    return f" ({', '.join(states[:5])})" if states else ""


def _floors(finished: Sequence[RunSummary], metrics: Sequence[str]) -> dict[str, dict[str, Sample]]:
    """Numbers that need no training, by floor and metric, over all runs, since floors hardly differ between runs."""
    floors: dict[str, dict[str, Sample]] = {}
    for metric in metrics:
        name, sign, at = metric.partition("@")
        for floor in dict.fromkeys(key for s in finished for key in s.newest if key.startswith(f"{name}/floor/")):
            found = measured(finished, f"{floor}{sign}{at}")
            numbers = {str(s.run.path): finite(record["value"]) for s, record in found}
            values = {path: value for path, value in numbers.items() if value is not None}
            if values:
                sample = Sample.of(values, str(found[0][1].get("unit") or ""))
                floors.setdefault(floor.rpartition("/")[2], {})[metric] = sample
    return floors


def _uneven(floors: Mapping[str, Mapping[str, Sample]]) -> list[str]:
    return [
        f"floor {floor} is the mean over all rows: it depends on the size or the weights of a code"
        for floor, samples in floors.items()
        if any(len(set(sample.values.values())) > 1 for sample in samples.values())
    ]
