"""`frame report`: a study as one HTML page that opens offline, to be read by somebody who did not train it."""

import base64
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import yaml
from PIL import Image

from frame.analysis.compare import Comparison, compare, counted
from frame.analysis.conclusions import sentences
from frame.analysis.figures import STYLE, Plot, plot
from frame.analysis.intervals import Sample, spread
from frame.analysis.intervals import shown as with_interval
from frame.analysis.protocols import one_protocol
from frame.analysis.rows import Row, finite, measured, ranked_rows
from frame.analysis.series import label, order, settings
from frame.analysis.study_figures import parallel, whole_pictures
from frame.analysis.tables import INTERVALS, html_table
from frame.common.errors import UserError, choices
from frame.common.numbers import counted as number_of
from frame.common.shell import pasted
from frame.common.templates import pieces, safe
from frame.composition.plain import as_yaml, parse_yaml
from frame.runs.listing import RunSummary, find, shown

MOST_METRICS, MOST_CURVES, MOST_LINES = 8, 4, 8  # limits of what is shown
WIDEST = 1024  # pixels of a picture
PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # chunks of a PNG
TEMPLATES = Path(__file__).parent / "templates"
PLAIN_COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "none",
}  # of texts and grounds, so that figures suit dark screens


def report(places: Sequence[str | Path], metrics: Sequence[str] = (), rows: Sequence[str] = ()) -> str:
    """The file's text; see `report_pieces`."""
    return "".join(report_pieces(places, metrics, rows))


def report_pieces(places: Sequence[str | Path], metrics: Sequence[str] = (), rows: Sequence[str] = ()) -> Iterator[str]:
    """The file's text, piece by piece, since it may be large.

    It says what was asked and what came out, and has a table of all metrics, curves, pictures, configs and commands of
    the runs below these places.

    Args:
        metrics: of the table, the first of which the page is about; by default those that were measured on test, else
            on valid, the goal of the sweep first.
        rows: keys by which runs are grouped; by default those in which they differ.

    Raises:
        UserError: there is no run, or none has finished.
    """
    done, others = counted(find(places))
    if not done:
        raise UserError(f"none of {number_of(len(others), 'runs')} is finished: `frame list` shows their states")
    keys = list(rows) or settings(done) or ["experiment"]
    for key in keys:
        if all(summary.get(key) is None for summary in done):
            raise UserError(choices(key, {name for s in done for name in s.keys()}, kind="key of these runs"))
    done.sort(key=lambda summary: [order(summary.get(key)) for key in keys])
    sweep = Path(places[0]) / "sweep.yaml"
    text = sweep.read_text() if sweep.is_file() else None
    asked = list(metrics) or _metrics(done, text)
    for metric in metrics:
        if not any(summary.record(metric) for summary in done):
            raise UserError(choices(metric, {name for s in done for name in s.newest}, kind="result of these runs"))
    unlike = {metric: why for metric in asked if (why := _unlike(done, metric))}
    alike = [metric for metric in asked if metric not in unlike]
    found = _compared([*done, *others], done, keys, alike) if alike else None
    first: dict[str, RunSummary] = {}  # of each setting
    for summary in done:
        first.setdefault(label(keys, summary), summary)
    script = (TEMPLATES / "report.js").read_text()
    return pieces(
        TEMPLATES / "report.html",
        name=Path(os.path.commonpath([Path(place).resolve() for place in places])).name,
        script=safe(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sentences=sentences(found) if found is not None else ["No metric was measured alike in these runs."],
        n_runs=len(done),
        missing=[f"{label(keys, s)}, seed {s.get('seed')}: {s.state}{_reason(s)}" for s in others],
        table=_table(found) if found is not None else None,
        unlike=unlike,
        protocols=_protocols(found) if found is not None else [],
        intervals=INTERVALS,
        notes=_notes(found) if found is not None else [],
        curves=[*_curves(done, keys, found)],
        figures=[*_figures(done, keys, alike)],
        pictures=[*_pictures(_best_and_median(found, done), keys)],
        runs=_runs([*done, *others], keys, Path(places[0])),
        sweep=text,
        commands=[_command(summary) for summary in first.values()],
        configs=[*_configs(first)],
    )


def _reason(summary: RunSummary) -> str:
    """Why a run is not finished: the last line of its reason, which names the error."""
    lines = str(summary.status.get("reason") or "").strip().splitlines()
    return f" ({lines[-1].strip()})" if lines else ""


def _metrics(done: Sequence[RunSummary], sweep: str | None) -> list[str]:
    """The goal of the sweep, on test if it was measured there; then what was measured on test, or on valid."""
    splits = {
        name: str(record.get("split")) for s in done for name, record in s.newest.items() if "/floor/" not in name
    }
    there = next((split for split in ("test", "valid") if split in splits.values()), None)
    known = sorted((n for n in splits if there in (None, splits[n])), key=lambda name: (name.count("/"), name))
    goal = _goal(sweep)
    first = [name for name in (goal.replace("/Validation", "/Test"), goal) if name in splits]
    return list(dict.fromkeys([*first[:1], *known]))[:MOST_METRICS]


def _goal(sweep: str | None) -> str:
    """The metric that a sweep file names; '' if it names none or cannot be read."""
    try:
        found = parse_yaml(sweep or "")
    except (UserError, ValueError, yaml.YAMLError):
        return ""
    metric = found.get("metric") if isinstance(found, dict) else None
    return str(metric.get("name") or "") if isinstance(metric, dict) else ""


def _unlike(done: Sequence[RunSummary], metric: str) -> str:
    """Why the numbers of a metric cannot stand in one column; '' if they can."""
    try:
        one_protocol(metric, [record for _, record in measured(done, metric)], but=["layer"])
        for run in done:  # an error such as "after @, write one of its iterations" is one, too
            run.record(metric)
    except UserError as error:
        return str(error)
    return ""


def _compared(
    runs: Sequence[RunSummary], done: Sequence[RunSummary], keys: Sequence[str], metrics: Sequence[str]
) -> Comparison:
    """The comparison. Rows that have names are sorted, on test too: nothing is chosen, and a note says so."""
    names = not all(isinstance(summary.get(keys[0]), int | float) for summary in done)
    return compare(runs, keys, metrics, sort=metrics[0] if names else None, allow_test=True)


@dataclass
class Cell:
    """A cell of the table: its text, a remark below it, the value that it is sorted by, and whether it wins."""

    text: str
    remark: str = ""
    value: Any = ""
    best: bool = False


def _table(found: Comparison) -> dict[str, Any]:
    """The head, with units; a line of cells for each row; and one for each floor, which is not sorted."""
    head = [(key.removeprefix("params."), "") for key in found.keys]
    head += [("seeds", ""), *((metric, found.units[metric]) for metric in found.metrics)]
    head += [(column, "") for column in found.columns]
    head = [(_breakable(title), unit) for title, unit in head]
    lines = []
    compared = {metric for row in found.rows for metric in row.differences}
    for row in found.rows:
        line = [Cell("-" if text == "None" else text, value=text) for text in row.label]
        line.append(Cell(str(len(row.runs)), value=len(row.runs)))
        line += [_cell(row, metric, metric in compared) for metric in found.metrics]
        line += [Cell(shown(row.facts[key]), value=_sortable(row.facts[key])) for key in found.columns]
        lines.append(line)
    floors = [
        [
            Cell(f"floor: {floor}"),
            *[Cell("")] * len(found.keys),
            *(Cell(with_interval(samples[m])) if m in samples else Cell("") for m in found.metrics),
            *[Cell("")] * len(found.columns),
        ]
        for floor, samples in found.floors.items()
    ]
    return {"head": head, "lines": lines, "floors": floors, "n_keys": len(found.keys)}


def _cell(row: Row, metric: str, compared: bool) -> Cell:
    sample: Sample | None = row.samples.get(metric)
    if sample is None:
        return Cell("-")
    one = row.differences.get(metric)
    remark = spread(one.mean, one.half, "+") if one is not None else "reference" if compared else ""
    if one is not None and not math.isnan(one.p):
        remark += f", p {one.p:.2g}" if one.p >= 0.001 else ", p < 0.001"
    return Cell(with_interval(sample), remark, sample.mean, metric in row.bold)


def _breakable(name: str) -> Any:
    """A name that a narrow column may break after '/' and '_'."""
    from markupsafe import Markup, escape

    return escape(name).replace("/", Markup("/<wbr>")).replace("_", Markup("_<wbr>"))


def _sortable(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else shown(value)


def _protocols(found: Comparison) -> list[tuple[list[str], str]]:
    """How the metrics were measured; those that were measured alike together."""
    by_text: dict[str, list[str]] = {}
    for metric in found.metrics:
        by_text.setdefault(found.protocols[metric], []).append(metric)
    return [(names, text) for text, names in by_text.items()]


def _notes(found: Comparison) -> list[str]:
    """The other notes of the comparison, but for those that the page itself says."""
    said = {f"{metric}: {text}" for metric, text in found.protocols.items()}
    starts = tuple(f"{start} {metric} " for metric in found.metrics for start in ("differences of",))
    return [note for note in found.notes if note not in said and not note.startswith(starts)]


def _curves(done: Sequence[RunSummary], keys: Sequence[str], found: Comparison | None) -> Iterator[tuple[str, Any]]:
    """Learning curves with bands over seeds, of the best settings if there are many."""
    often = {name: len(records) for name, records in done[0].courses.items() if "/floor/" not in name}
    first = found.metrics[0].partition("/")[0] if found is not None else ""
    names = sorted(
        (name for name, n in often.items() if n > 2), key=lambda name: (not name.startswith(first), name.count("/"))
    )
    runs, of = done, ""
    if found is not None and len(found.rows) > MOST_LINES:
        ranked = ranked_rows(found.rows, found.metrics[0], found.better[found.metrics[0]])[:MOST_LINES]
        runs, of = [run for row in ranked for run in row.runs], f", the {MOST_LINES} best settings"
    figures = [(f"{metric}{of}", metric, runs) for metric in names[:MOST_CURVES]]
    if not figures:  # losses of several models are no numbers of one scale
        models = sorted({str(run.get("model")) for run in runs})
        figures = [
            (f"loss of {model}{of}", "loss", [run for run in runs if str(run.get("model")) == model])
            for model in models[:MOST_CURVES]
        ]
    for title, metric, drawn in figures:
        hue = keys if len(_labels(drawn, keys)) > 1 else ()
        if (figure := _svg(title, partial(plot, drawn, "epochs", metric, hue=hue), least=3)) is not None:
            yield figure


def _labels(runs: Sequence[RunSummary], keys: Sequence[str]) -> set[str]:
    return {label(keys, run) for run in runs}


def _figures(done: Sequence[RunSummary], keys: Sequence[str], metrics: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Metrics over a number in which the runs differ, if it has three values or more; or parallel coordinates."""
    differ = settings(done)
    numbers = {key: [s.get(key) for s in done] for key in differ}
    numeric = [
        key
        for key, there in numbers.items()
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)
        and len(set(there)) > 2
    ]
    over = next((key for key in keys if key in numeric), next(iter(numeric), None))
    rest = [key for key in differ if key != over]
    for metric in metrics[:MOST_CURVES]:
        if over is not None and len(_labels(done, rest)) <= MOST_LINES:
            values = [float(value) for value in numbers[over]]
            log = "x" if min(values) > 0 and max(values) / min(values) > 20 else ""
            drawn = _svg(
                f"{metric} over {over.removeprefix('params.')}", partial(plot, done, over, metric, hue=rest, log=log)
            )
        elif len(differ) > 1 and over is not None:
            drawn = _svg(f"{metric} of each setting", partial(parallel, done, metric))
        else:
            return
        if drawn is not None:
            yield drawn


def _svg(title: str, draw: Callable[[], Plot], least: int = 0) -> tuple[str, Any] | None:
    """A figure for the page; None if it cannot be drawn, which the table says, or has fewer than `least` points."""
    try:
        made = draw()
    except UserError:
        return None
    if len({row[1] for row in made.numbers}) < least:
        return None
    stream = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):  # so that no two figures share the names inside
        made.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = stream.getvalue()
    for colour, instead in PLAIN_COLOURS.items():
        text = text.replace(f": {colour}", f": {instead}")
    return title, safe(text[text.index("<svg") :])


def _best_and_median(found: Comparison | None, done: Sequence[RunSummary]) -> list[tuple[str, RunSummary]]:
    """The best and the median run by the first metric, with what the page calls them."""
    if found is None:
        return [("first run", done[0])]
    metric = found.metrics[0]
    value = {id(run): finite(run.get(metric)) for run in done}
    sign = 1 if found.better[metric] == "less" else -1
    ranked = sorted((run for run in done if value[id(run)] is not None), key=lambda run: sign * (value[id(run)] or 0))
    if not ranked:
        return [("first run", done[0])]
    names = ["best run", "median run"] if found.better[metric] else ["largest", "median run"]
    chosen = [ranked[0], ranked[len(ranked) // 2]][: len(ranked)]
    unit = found.units[metric]
    return [
        (f"{name} by {metric} ({shown(value[id(run)])} {unit})".replace(" )", ")"), run)
        for name, run in zip(names, chosen, strict=False)
    ]


def _pictures(
    chosen: Sequence[tuple[str, RunSummary]], keys: Sequence[str]
) -> Iterator[tuple[str, list[tuple[str, str, int]]]]:
    """By name, the newest pictures of these runs: caption, PNG in base64, and width in pixels."""
    by_name: dict[str, list[tuple[str, Path]]] = {}
    for what, summary in chosen:
        for picture in summary.run.newest_pictures:
            caption = f"{what}: {label(keys, summary)}, seed {summary.get('seed')}"
            by_name.setdefault(picture.parent.name, []).append((caption, picture))
    for name, several in sorted(by_name.items()):
        whole = [(text, _data(file, image), image.size[0]) for text, file, image in whole_pictures(several)]
        if whole:
            yield name, whole


def _data(picture: Path, image: Image.Image) -> str:
    """A picture in base64: a small one with its own pixels and no metadata, any other scaled down."""
    is_plain = image.mode in ("1", "L", "P", "RGB") and max(image.size) <= WIDEST
    found = picture.read_bytes() if is_plain and picture.stat().st_size <= 4 * WIDEST**2 else b""
    if not found:  # encoding it again takes fifty times as long
        small = image.convert("RGB")
        small.thumbnail((WIDEST, WIDEST))
        stream = io.BytesIO()
        small.save(stream, "PNG", optimize=True)
        found = stream.getvalue()
    return base64.b64encode(_pixels(found)).decode()


def _pixels(png: bytes) -> bytes:
    """A PNG's pixels alone: no texts, times, places or further frames."""
    kept, at = [png[:8]], 8
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        kept += [png[at:end]] * (png[at + 4 : at + 8] in PIXELS)
        at = end
    return b"".join(kept)


def _runs(summaries: Sequence[RunSummary], keys: Sequence[str], place: Path) -> Any:
    columns = [*keys, "seed", "state", "epochs", "seconds"]
    rows = [[_relative(s.run.path, place), *(shown(s.get(column)) for column in columns)] for s in summaries]
    return html_table(["run", *columns], rows)


def _relative(path: Path, place: Path) -> str:
    """The path within the study, so that the report names no other folder of this machine."""
    try:
        return str(path.resolve().relative_to(place.resolve()))
    except ValueError:
        return "/".join(path.parts[-2:])


def _command(summary: RunSummary) -> str:
    mine = [word for word in summary.run.overrides if not word.lstrip("+").startswith(("device.", "experiment_name="))]
    return pasted("frame", "train", *mine)


def _configs(first: Mapping[str, RunSummary]) -> Iterator[tuple[str, str]]:
    known: dict[str, str] = {}  # the text of each part, since settings differ in few parts
    for setting, summary in first.items():
        parts = []
        for key, value in summary.config.items():
            if key != "device":  # it is the machine's
                same = json.dumps([key, value])
                if same not in known:
                    known[same] = as_yaml({key: value})
                parts.append(known[same])
        yield setting, "".join(parts)
