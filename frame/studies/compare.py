"""`frame compare`: rows of runs beside one another, with intervals over seeds and paired differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frame.listing import Summary, summaries, varying
from frame.mistakes import Mistake, choices
from frame.runs import RunFolder
from frame.studies.families import COLUMNS, known_of, shared
from frame.studies.intervals import LEVEL, Difference, Sample, holm, interval, paired, shown
from frame.studies.protocols import one_protocol, said

SPLITS = {"train": "Train", "valid": "Validation", "test": "Test"}


@dataclass
class Row:
    """Runs that agree in the keys of the rows."""

    label: tuple[str, ...]
    runs: list[Summary] = field(default_factory=list)
    samples: dict[str, Sample] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    bold: set[str] = field(default_factory=set)
    facts: dict[str, Any] = field(default_factory=dict)
    chosen: bool = False

    @property
    def name(self) -> str:
        return ", ".join(self.label)


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


def counted(runs: Sequence[RunFolder] | Sequence[Summary]) -> tuple[list[Summary], list[Summary]]:
    """The finished runs, and those that are not; of a cell of a sweep only the newest. See `frame.listing.summaries`.

    Raises:
        Mistake: no run can be read.
    """
    found = summaries(_newest(runs))
    return [s for s in found if s.state == "finished"], [s for s in found if s.state != "finished"]


def _newest(runs: Sequence[RunFolder] | Sequence[Summary]) -> Sequence[RunFolder] | Sequence[Summary]:
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
    runs: Sequence[RunFolder] | Sequence[Summary],
    rows: Sequence[str],
    metrics: Sequence[str],
    *,
    select: str | None = None,
    within: str | None = None,
    against: str | None = None,
    minimize: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    sort: str | None = None,
) -> Comparison:
    """Groups runs by the keys in `rows` and puts their metrics side by side.

    Args:
        runs: of one study, or of several.
        rows: keys of `frame list`, such as 'params.beta', 'model' or 'experiment'.
        metrics: names of results.
        select: 'valid', or a metric, by which one row is chosen; its other metrics are what it is reported with.
        within: a key, such as 'experiment': a row is chosen for each of its values, and the others are left out.
        against: label (values, joined by commas) of the row that paired differences are from; None: the best of each.
        minimize: metrics of which less is better where their records do not say so, as those of own evaluations.
        sort: a metric by which the rows stand, the best first; None: by their labels.
        columns: more keys, whose means are shown: 'parameters', 'encoder', 'augmentation', 'layer', 'trials' (settings
            of the row's experiment that were tried), 'epochs', 'seconds', 'flops', ... None: those that tell families
            apart, where there are several models, else none.

    Raises:
        Mistake: no finished run, an unknown key, metric or row, a metric measured in several ways, or a row that would
            be chosen on test.
    """
    finished, others = counted(runs)
    if not finished:
        raise Mistake(f"none of {len(runs)} runs is finished: `frame list` shows where they stand")
    if columns is None:
        several = len({summary.get("model") for summary in finished}) > 1
        columns = [key for key in COLUMNS if several and (key == "trials" or known_of(finished, key))]
    known = {key for summary in finished for key in summary.keys()} | {"seed", *COLUMNS, "layer"}
    for key in (*rows, *(key for key in columns if key not in ("trials", "layer")), *([within] if within else [])):
        if not known_of(finished, key):
            raise Mistake(choices(key, known, kind="key of these runs"))
    if within is not None and select is None:
        raise Mistake(f"within={within} needs select=valid, by which a row is chosen for each {within}")
    results = {name for summary in finished for name in summary.newest}
    by = _selection(select, metrics, results)
    for metric in dict.fromkeys((*metrics, *(name for name in (by, sort) if name), *minimize)):
        if not any(summary.record(metric) for summary in finished):
            at = "; @ has to be one of its iterations, or @90s" if metric.partition("@")[0] in results else ""
            raise Mistake(choices(metric, results, kind="result of these runs") + at)
    found = _grouped(finished, rows)
    units, better, notes = {}, {}, []
    for metric in dict.fromkeys((*metrics, *(name for name in (by, sort) if name))):
        records = [record for _, record in _measured(finished, metric)]
        common = one_protocol(metric, records, but=["layer"])
        units[metric] = common["unit"]
        better[metric] = "less" if metric in minimize else str(records[-1].get("better", "more"))
        layers = [_layer(row, metric) for row in found]
        way = "; less is better" if better[metric] == "less" else ""
        notes.append(f"{metric}: {said(common, list(dict.fromkeys(layer for layer in layers if layer)))}{way}")
        for row in found:
            values = {_pair(s): float(record["value"]) for s, record in _measured(row.runs, metric)}
            if values:
                row.samples[metric] = Sample(values, *interval([*values.values()]))
    for row in found:
        row.facts = {key: shared(row.runs, key, [*finished, *others]) for key in columns if key != "layer"}
        row.facts |= {"layer": _layer(row, metrics[0])}
    notes += _missing(found, others, rows, metrics)
    if by and within:
        found = _best_within(found, within, by, better[by], notes)
    for metric in metrics:
        notes += _differences(found, metric, against, better[metric])
    if sort:
        sign = 1 if better[sort] == "less" else -1
        found.sort(key=lambda row: sign * row.samples[sort].mean if sort in row.samples else math.inf)
    if by and not within:
        have = [row for row in found if by in row.samples]
        best = _best(have, by, better[by])
        best.chosen = True
        notes.append(f"{best.name} is chosen by {by}, {shown(best.samples[by])} {units[by]}".rstrip())
    floors = _floors(finished, metrics)
    for floor, samples in floors.items():
        if any(len(set(sample.values.values())) > 1 for sample in samples.values()):
            notes.append(f"floor {floor} is the mean over all rows: it depends on the size or the weights of a code")
    return Comparison([*rows], [*metrics], [*columns], found, floors, units, notes)


def _measured(runs: Sequence[Summary], metric: str) -> list[tuple[Summary, dict[str, Any]]]:
    return [(run, record) for run in runs if (record := run.record(metric)) is not None]


def _layer(row: Row, metric: str) -> str:
    records = [record for _, record in _measured(row.runs, metric)]
    return str(one_protocol(metric, records)["layer"] or "") if records else ""


def _best(rows: Sequence[Row], metric: str, better: str) -> Row:
    return (min if better == "less" else max)(rows, key=lambda row: row.samples[metric].mean)


def _best_within(found: Sequence[Row], within: str, by: str, better: str, notes: list[str]) -> list[Row]:
    """The best row of each value of a key; says of how many."""
    groups: dict[str, list[Row]] = {}
    for row in found:
        if by in row.samples:
            groups.setdefault(str(row.runs[0].get(within)), []).append(row)
    kept = []
    for value, group in groups.items():
        kept.append(_best(group, by, better))
        if len(group) > 1:
            notes.append(f"{value}: {kept[-1].name} is the best of {len(group)} rows by {by}")
    return kept


def _selection(select: str | None, metrics: Sequence[str], results: set[str]) -> str | None:
    """The metric that a row is chosen by."""
    if select is None:
        return None
    if select in SPLITS:
        titles = [part for part in metrics[0].split("/") if part in SPLITS.values()]
        by = metrics[0].replace(titles[0], SPLITS[select], 1) if titles else metrics[0]
    else:
        by = select
    if "Test" in by.split("/") or select == "test":
        raise Mistake(f"select={select}: a row is not chosen on test; select=valid chooses on validation")
    return by


def _grouped(finished: Sequence[Summary], keys: Sequence[str]) -> list[Row]:
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


def _pair(summary: Summary) -> Any:
    """What two runs share that are compared pairwise: seeds of first weights and of the data's order."""
    seeds = [summary.get(key) for key in ("seeds.init", "seeds.data")]
    return tuple(str(seed) for seed in seeds) if None not in seeds else str(summary.get("seed"))


def _missing(found: Sequence[Row], others: Sequence[Summary], keys: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """What is not in the table, a line a row."""
    twice = [row for row in found if len({_pair(s) for s in row.runs}) < len(row.runs)]
    notes = [f"{row.name}: several runs of one seed, the newest counts; more rows=... may part them" for row in twice]
    most = max(len({_pair(s) for s in row.runs}) for row in found)
    for row in found:
        mixed = [key for key in varying(row.runs) if key not in (*keys, "seed")]
        if mixed:
            notes.append(f"{row.name}: its runs differ in {', '.join(mixed)} and are averaged; rows=... parts them")
        waiting = [s for s in others if tuple(str(s.get(key)) for key in keys) == row.label]
        states = [f"seed {s.get('seed')} {s.state}" for s in waiting]
        n = len({_pair(s) for s in row.runs})
        if n < most or states:
            notes.append(f"{row.name}: {max(most - n, len(states))} runs missing" + _listed(states))
        for metric in metrics:
            without = sum(s.record(metric) is None for s in row.runs)
            if without:
                notes.append(f"{row.name}: {without} runs have no {metric}: frame evaluate measures it")
    rest = [s for s in others if tuple(str(s.get(key)) for key in keys) not in {row.label for row in found}]
    return notes + ([f"{len(rest)} more runs are not finished, in no row"] if rest else [])


def _listed(states: Sequence[str]) -> str:
    return f" ({', '.join(states[:5])})" if states else ""


def _differences(found: Sequence[Row], metric: str, against: str | None, better: str) -> list[str]:
    """Fills in differences, and bold where a row is better than every other after Holm's correction.

    Where neither more nor less is better, no row is; differences are then from the row with the most.
    """
    have = [row for row in found if metric in row.samples]
    if len(have) < 2:
        return []
    best = _best(have, metric, better)
    wins = [paired(best.samples[metric].values, row.samples[metric].values) for row in have if row is not best]
    if better and all(p < 1 - LEVEL for p in holm([win.p for win in wins])):
        best.bold.add(metric)
    if against in (None, "best"):
        reference = best
    else:
        labels = {",".join(row.label): row for row in have}
        if against not in labels:
            raise Mistake(f"against: {choices(str(against), labels, kind='row')}")
        reference = labels[str(against)]
    rest = [row for row in have if row is not reference]
    raw = [paired(row.samples[metric].values, reference.samples[metric].values) for row in rest]
    for row, one, p in zip(rest, raw, holm([one.p for one in raw]), strict=True):
        row.differences[metric] = Difference(one.mean, one.half, p, one.n)
    notes = [f"differences of {metric} are from {reference.name}, of pairs that share seeds; p after Holm"]
    if not any(one.n for one in raw):
        notes = [f"{metric}: no two rows share seeds, so there are no paired differences"]
    if not better:
        notes.append(f"{metric}: neither more nor less of it is better, so there is no winner")
    elif metric not in best.bold:
        ties = [row for row, win in zip([r for r in have if r is not best], wins, strict=True) if not win.p < 0.05]
        named = "; ".join(row.name for row in ties[:3]) or "the others after Holm's correction"
        notes.append(f"no winner in {metric}: {best.name} is not told apart from {named}")
    return notes


def _floors(finished: Sequence[Summary], metrics: Sequence[str]) -> dict[str, dict[str, Sample]]:
    """What costs no training, by floor and metric: over all runs, since they share it or nearly so."""
    floors: dict[str, dict[str, Sample]] = {}
    for metric in metrics:
        name, sign, at = metric.partition("@")
        for floor in dict.fromkeys(key for s in finished for key in s.newest if key.startswith(f"{name}/floor/")):
            found = _measured(finished, f"{floor}{sign}{at}")
            values = {str(s.run.path): float(record["value"]) for s, record in found}
            if values:
                sample = Sample(values, *interval([*values.values()]))
                floors.setdefault(floor.rpartition("/")[2], {})[metric] = sample
    return floors
