"""`frame compare`: rows of runs beside one another, with intervals over seeds and paired differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frame.analysis.families import COLUMNS, known_of, shared, trials
from frame.analysis.intervals import Sample, shown
from frame.analysis.protocols import one_protocol, said
from frame.analysis.rows import Row, best_of, by_seed, differ, finite, left_out, measured, pair, ranked_rows
from frame.common import selection
from frame.common.errors import UserError, choices
from frame.runs.folder import RunFolder
from frame.runs.listing import RunSummary, summaries, varying

SPLITS = {"train": "Train", "valid": "Validation", "test": "Test"}


@dataclass
class Comparison:
    """A table, and what has to be said of it."""

    keys: list[str]
    metrics: list[str]
    columns: list[str]
    rows: list[Row]
    floors: dict[str, dict[str, Sample]]
    units: dict[str, str]
    notes: list[str]


def counted(runs: Sequence[RunFolder] | Sequence[RunSummary]) -> tuple[list[RunSummary], list[RunSummary]]:
    """The finished runs, and those that are not; only the newest of a sweep's cell. See `frame.runs.listing`.

    Raises:
        UserError: no run can be read.
    """
    found = summaries(_newest(runs))
    return [s for s in found if s.state == "finished"], [s for s in found if s.state != "finished"]


def _newest(runs: Sequence[RunFolder] | Sequence[RunSummary]) -> Sequence[RunFolder] | Sequence[RunSummary]:
    """The runs, of a cell of a sweep only the newest, so that no other is read."""
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


def compare(
    runs: Sequence[RunFolder] | Sequence[RunSummary],
    rows: Sequence[str],
    metrics: Sequence[str],
    *,
    select: str | None = None,
    within: str | None = None,
    against: str | None = None,
    minimize: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    sort: str | None = None,
    allow_test: bool = False,
) -> Comparison:
    """Groups runs by the keys in `rows` and puts their metrics side by side.

    Args:
        runs: of one study, or of several.
        rows: keys of `frame list`, such as 'params.beta', 'model' or 'experiment'.
        metrics: names of results.
        select: 'valid', or a metric, by which one row is chosen; its other metrics are what it is reported with.
        within: a key, such as 'experiment': a row is chosen for each of its values, and the others are left out.
        against: label (values, joined by commas) of the row that differences are from, named before the numbers are
            seen; None or 'best': the best row, and the p values make up for that choice.
        minimize: metrics of which less is better where their records do not say so, as those of own evaluations.
        sort: a metric by which the rows stand, the best first; None: by their labels.
        allow_test: lets `select` and `sort` take a metric that was measured on test, and says so below the table.
        columns: more keys, whose means are shown: 'parameters', 'encoder', 'augmentation', 'layer', 'trials' (settings
            of the row's experiment that were tried), 'epochs', 'seconds', 'flops', ... None: those that tell families
            apart, where there are several models, else none.

    Raises:
        UserError: no finished run, an unknown key, metric or row, a metric measured in several ways, or a row that
            would be chosen on test.
    """
    finished, others = counted(runs)
    if not finished:
        raise UserError(f"none of {len(runs)} runs is finished: `frame list` shows where they stand")
    if columns is None:
        several = len({summary.get("model") for summary in finished}) > 1
        columns = [key for key in COLUMNS if several and (key == "trials" or known_of(finished, key))]
    known = {key for summary in finished for key in summary.keys()} | {"seed", *COLUMNS, "layer"}
    for key in (*rows, *(key for key in columns if key not in ("trials", "layer")), *([within] if within else [])):
        if not known_of(finished, key):
            raise UserError(choices(key, known, kind="key of these runs"))
    if within is not None and select is None:
        raise UserError(f"within={within} needs select=valid, by which a row is chosen for each {within}")
    results = {name for summary in finished for name in summary.newest}
    by = _selection(select, metrics)
    for metric in dict.fromkeys((*metrics, *(name for name in (by, sort) if name), *minimize)):
        if not any(summary.record(metric) for summary in finished):
            at = "; @ has to be one of its iterations, or @90s" if metric.partition("@")[0] in results else ""
            raise UserError(choices(metric, results, kind="result of these runs") + at)
    notes = _on_test(finished, by, sort, allow_test)
    found = _grouped(finished, rows)
    units, better = {}, {}
    for metric in dict.fromkeys((*metrics, *(name for name in (by, sort) if name))):
        records = [record for _, record in measured(finished, metric)]
        common = one_protocol(metric, records, but=["layer"])
        units[metric] = common["unit"]
        better[metric] = "less" if metric in minimize else str(records[-1].get("better", "more"))
        layers = [_layer(row, metric) for row in found]
        way = "; less is better" if better[metric] == "less" else ""
        notes.append(f"{metric}: {said(common, list(dict.fromkeys(layer for layer in layers if layer)))}{way}")
        for row in found:
            values = by_seed(row.runs, metric)
            if values:
                row.samples[metric] = Sample.of(values, units[metric])
    tried = trials([*finished, *others]) if "trials" in columns else {}
    for row in found:
        row.facts = {key: shared(row.runs, key, tried) for key in columns if key != "layer"}
        row.facts |= {"layer": _layer(row, metrics[0])}
    notes += _missing(found, others, rows, metrics)
    if by and not any(by in row.samples for row in found):
        raise UserError(f"select={by}: no run has a finite number of it")
    everything = found  # chance had all of them to choose from
    if by and within:
        found = _best_within(found, within, by, better[by], notes)
    for metric in metrics:
        notes += left_out(found, metric)
        notes += differ(found, everything, metric, against, better[metric])
    if sort:
        place = {row.label: i for i, row in enumerate(ranked_rows(found, sort, better[sort]))}
        found.sort(key=lambda row: place.get(row.label, math.inf))
    if by and not within:
        best = best_of(found, by, better[by])
        best.chosen = True
        notes.append(f"{best.name} is chosen by {by}, {shown(best.samples[by])} {units[by]}".rstrip())
    floors = _floors(finished, metrics)
    for floor, samples in floors.items():
        if any(len(set(sample.values.values())) > 1 for sample in samples.values()):
            notes.append(f"floor {floor} is the mean over all rows: it depends on the size or the weights of a code")
    return Comparison([*rows], [*metrics], [*columns], found, floors, units, notes)


def _layer(row: Row, metric: str) -> str:
    records = [record for _, record in measured(row.runs, metric)]
    return str(one_protocol(metric, records)["layer"] or "") if records else ""


def _best_within(found: Sequence[Row], within: str, by: str, better: str, notes: list[str]) -> list[Row]:
    """The best row of each value of a key; says of how many."""
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


def _selection(select: str | None, metrics: Sequence[str]) -> str | None:
    """The metric that a row is chosen by: of a split, that of the first metric there."""
    if select not in SPLITS:
        return select
    titles = [part for part in metrics[0].split("/") if part in SPLITS.values()]
    return metrics[0].replace(titles[0], SPLITS[select], 1) if titles else metrics[0]


def _on_test(finished: Sequence[RunSummary], by: str | None, sort: str | None, allowed: bool) -> list[str]:
    """What is chosen on test, in these rows and in their training; raises UserError where that is not allowed."""
    said = [
        selection.check(
            what, metric, [record for _, record in measured(finished, metric)], allowed, "a row is not chosen on test"
        )
        for what, metric in (("select", by), ("sort", sort))
        if metric
    ]
    trained = sum(summary.get(selection.ALLOW) is True for summary in finished)
    said += [f"{trained} runs were trained with {selection.ALLOW}=true: what they keep may be chosen on test"] * (
        trained > 0
    )
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
    """What is not in the table, a line a row."""
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
                f"rows={','.join([*keys, *mixed])} parts them"
            )
        elif mixed:
            notes.append(f"{row.name}: its runs differ in {', '.join(mixed)} and are averaged; rows=... parts them")
        states = [f"seed {s.get('seed')} {s.state}" for s in waiting.pop(row.label, [])]
        n = len({pair(s) for s in row.runs})
        if n < most or states:
            notes.append(f"{row.name}: {max(most - n, len(states))} runs missing" + _listed(states))
        for metric in metrics:
            without = sum(s.record(metric) is None for s in row.runs)
            if without:
                notes.append(f"{row.name}: {without} runs have no {metric}: frame evaluate measures it")
    n_rest = sum(map(len, waiting.values()))
    return notes + ([f"{n_rest} more runs are not finished, in no row"] if n_rest else [])


def _listed(states: Sequence[str]) -> str:
    return f" ({', '.join(states[:5])})" if states else ""


def _floors(finished: Sequence[RunSummary], metrics: Sequence[str]) -> dict[str, dict[str, Sample]]:
    """What costs no training, by floor and metric: over all runs, since they share it or nearly so."""
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
