"""`frame report`: a study as one HTML file that opens offline, on light and dark screens."""

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image

from frame.analysis.compare import compare, counted
from frame.analysis.figures import STYLE, Plot, plot
from frame.analysis.series import label, order, settings
from frame.analysis.study_figures import parallel, whole_pictures
from frame.analysis.tables import as_html, html_table, notes_of
from frame.common.errors import UserError, choices
from frame.common.shell import pasted
from frame.common.templates import pieces, safe
from frame.composition.plain import as_yaml
from frame.runs.listing import RunSummary, find, shown

MOST_METRICS, MOST_PICTURES, WIDEST = 8, 60, 512  # limits of what is shown; WIDEST in pixels
PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # chunks of a PNG
TEMPLATE = Path(__file__).parent / "templates" / "report.html"


def report(places: Sequence[str | Path], metrics: Sequence[str] = (), rows: Sequence[str] = ()) -> str:
    """The file's text; see `report_pieces`."""
    return "".join(report_pieces(places, metrics, rows))


def report_pieces(places: Sequence[str | Path], metrics: Sequence[str] = (), rows: Sequence[str] = ()) -> Iterator[str]:
    """The file's text, piece by piece, since it may be large.

    It has tables, figures, pictures, configs and commands of the runs below these places.

    Args:
        metrics: of the tables and figures; by default those that were measured on test, else on valid.
        rows: keys by which runs are grouped; by default those in which they differ.

    Raises:
        UserError: there is no run, or none has finished.
    """
    done, others = counted(find(places))
    everything = [*done, *others]
    if not done:
        raise UserError(f"none of {len(others)} runs is finished: `frame list` shows their states")
    keys = list(rows) or settings(done) or ["experiment"]
    for key in keys:
        if all(summary.get(key) is None for summary in done):
            raise UserError(choices(key, {name for s in done for name in s.keys()}, kind="key of these runs"))
    done.sort(key=lambda summary: [order(summary.get(key)) for key in keys])
    splits = {
        name: str(record.get("split")) for s in done for name, record in s.newest.items() if "/floor/" not in name
    }
    known = sorted(splits, key=lambda name: (splits[name] != "test", splits[name] != "valid", name.count("/"), name))
    shown_metrics = list(metrics) or known[:MOST_METRICS]
    first: dict[str, RunSummary] = {}  # of each setting
    for summary in done:
        first.setdefault(label(keys, summary), summary)
    sweep = Path(places[0]) / "sweep.yaml"
    return pieces(
        TEMPLATE,
        name=Path(places[0]).resolve().name,
        n_runs=len(done),
        n_settings=len(first),
        keys=keys,
        missing=[f"{label(keys, s)}, seed {s.get('seed')}: {s.state}{_reason(s)}" for s in others],
        tables=[*_tables(everything, done, keys, shown_metrics, bool(metrics))],
        figures=[*_figures(everything, done, shown_metrics)],
        pictures=[*_pictures(first)],
        runs=_runs([*done, *others], keys, Path(places[0])),
        sweep=sweep.read_text() if sweep.is_file() else None,
        commands=[_command(summary) for summary in first.values()],
        configs=[*_configs(first)],
    )


def _reason(summary: RunSummary) -> str:
    """Why a run is not finished: the last line of its reason, which names the error."""
    lines = str(summary.status.get("reason") or "").strip().splitlines()
    return f" ({lines[-1].strip()})" if lines else ""


@dataclass
class Table:
    """A metric's table and notes; or why there is none."""

    metric: str
    cells: Any = ""
    notes: Sequence[str] = ()
    warning: str = ""


def _tables(
    runs: Sequence[RunSummary], done: Sequence[RunSummary], keys: Sequence[str], metrics: Sequence[str], asked: bool
) -> Iterator[Table]:
    """A table for each metric. If a metric was measured in several ways, a warning replaces its table.

    Rows that have names are sorted by the metric, on test too: nothing is chosen, and a note says so.
    """
    names = not all(isinstance(summary.get(keys[0]), int | float) for summary in done)
    for metric in metrics:
        try:
            found = compare(runs, keys, [metric], sort=metric if names else None, allow_test=True)
            yield Table(metric, as_html(found), notes_of(found))
        except UserError as error:
            if asked and not any(metric in summary.newest for summary in done):
                raise
            yield Table(metric, warning=str(error))


def _figures(
    runs: Sequence[RunSummary], done: Sequence[RunSummary], metrics: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Titles and SVGs."""
    keys = settings(done)
    numeric = [key for key in keys if all(isinstance(s.get(key), int | float) for s in done)]
    over = numeric[0] if numeric else next(iter(keys), None)
    rest = [key for key in keys if key != over]
    drawn = []
    for metric in metrics:
        if over is not None and len({label(rest, s) for s in done}) <= 8:
            values = [float(s.get(over)) for s in done] if over in numeric else []
            log = "x" if values and min(values) > 0 and max(values) / min(values) > 20 else ""
            draw = partial(plot, runs, over, metric, hue=rest, log=log)
            drawn.append(_svg(f"{metric} over {over}", draw))
        elif len(keys) > 1:
            drawn.append(_svg(f"{metric} of each setting", partial(parallel, runs, metric)))
    measured_often = [
        metric for metric, records in done[0].courses.items() if "/floor/" not in metric and len(records) > 2
    ]
    if len({label(keys, s) for s in done}) <= 12:
        for metric in measured_often[:4]:
            drawn.append(_svg(f"{metric} in training", partial(plot, runs, "iterations", metric, hue=keys)))
    yield from (figure for figure in drawn if figure is not None)


def _svg(title: str, draw: Callable[[], Plot]) -> tuple[str, Any] | None:
    """A figure for the page; None if it cannot be drawn, which its table says."""
    try:
        made = draw()
    except UserError:
        return None
    stream = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):  # so that no two figures share the names inside
        made.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = stream.getvalue()
    return title, safe(text[text.index("<svg") :])


def _pictures(first: Mapping[str, RunSummary]) -> Iterator[tuple[str, list[tuple[str, str]], int]]:
    """By name, the newest pictures of the first run of each setting; and how many more settings there are."""
    by_name: dict[str, list[tuple[str, Path]]] = {}
    for setting, summary in first.items():
        for picture in summary.run.newest_pictures:
            by_name.setdefault(picture.parent.name, []).append((setting, picture))
    for name, found in sorted(by_name.items()):
        few = max(1, MOST_PICTURES // len(by_name))
        shown_ones = [(setting, _data(picture, image)) for setting, picture, image in whole_pictures(found[:few])]
        yield name, shown_ones, max(0, len(found) - few)


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
