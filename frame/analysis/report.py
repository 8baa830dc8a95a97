"""`frame report`: a study as one HTML file that opens offline, on a light or a dark screen."""

import base64
import html
import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import matplotlib
from PIL import Image

from frame.analysis.compare import compare, counted
from frame.analysis.figures import STYLE, Plot, plot
from frame.analysis.series import label, order, settings
from frame.analysis.study_figures import parallel, whole_pictures
from frame.analysis.tables import as_html
from frame.common.errors import UserError, choices
from frame.common.shell import pasted
from frame.composition.plain import as_yaml
from frame.runs.listing import RunSummary, find, shown

MOST_METRICS, MOST_PICTURES, WIDEST = 8, 60, 512  # of what is shown; pixels of a picture
PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # chunks of a PNG
CSS = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881 }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap }
.wide { overflow-x: auto } .row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: start }
figure { margin: 0; padding: .5rem; background: #fff; color: #111; border: 1px solid var(--line); border-radius: 4px }
figure svg { display: block; width: 100%; max-width: 26rem; height: auto } figcaption { font-size: 12px }
img { display: block; max-width: 16rem; width: 100%; image-rendering: pixelated }
pre { background: var(--soft); padding: .6rem; overflow-x: auto; font-size: 12px }
details { margin: .3rem 0 } summary { cursor: pointer } .warn { border-left: 4px solid #D55E00; padding-left: .7rem }
"""


def report(places: Sequence[str | Path], metrics: Sequence[str] = (), rows: Sequence[str] = ()) -> str:
    """The file's text: tables, figures, pictures, configs and commands of the runs below these places.

    Args:
        metrics: of the tables and figures; those that were measured on test where none is given, else on valid.
        rows: keys by which runs are grouped; those in which they differ where none is given.

    Raises:
        UserError: there is no run, or none has finished.
    """
    done, others = counted(find(places))
    everything = [*done, *others]
    if not done:
        raise UserError(f"none of {len(others)} runs is finished: `frame list` shows where they stand")
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
    name = Path(places[0]).resolve().name
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f"<p>{len(done)} finished runs, {len({label(keys, s) for s in done})} settings"
        f" ({html.escape(', '.join(keys))}).</p>",
        _missing(others, keys),
        _section("Results", _tables(everything, done, keys, shown_metrics, bool(metrics))),
        _section("Figures", _figures(everything, done, shown_metrics)),
        _section("Pictures", _pictures(done, keys)),
        _section("Runs", _runs(done, others, keys, Path(places[0]))),
        _section("Configs and commands", _configs(done, keys, places)),
    ]
    body = "\n".join(part for part in parts if part)
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{viewport}<title>{html.escape(name)}</title>'
        f"<style>{CSS}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _reason(summary: RunSummary) -> str:
    """Why a run is not finished: the last line of what it left, which names the error."""
    lines = str(summary.status.get("reason") or "").strip().splitlines()
    return f" ({lines[-1].strip()})" if lines else ""


def _section(title: str, parts: Iterator[str]) -> str:
    found = "\n".join(parts)
    return f"<h2>{title}</h2>\n{found}" if found else ""


def _folded(title: str, body: str, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{html.escape(title)}</summary>\n{body}\n</details>"


def _warning(text: str) -> str:
    return f'<p class="warn">{html.escape(text)}</p>'


def _missing(others: Sequence[RunSummary], keys: Sequence[str]) -> str:
    if not others:
        return ""
    lines = [f"{label(keys, s)}, seed {s.get('seed')}: {s.state}{_reason(s)}" for s in others]
    listing = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return _warning(f"{len(others)} runs are not finished and left out") + _folded("which", f"<ul>{listing}</ul>")


def _tables(
    runs: Sequence[RunSummary], done: Sequence[RunSummary], keys: Sequence[str], metrics: Sequence[str], asked: bool
) -> Iterator[str]:
    """A table a metric, since one that was measured in several ways says so and the others stand; of names by rank.

    By rank on test, too, which chooses nothing, and the table says so.
    """
    names = not all(isinstance(summary.get(keys[0]), int | float) for summary in done)
    for i, metric in enumerate(metrics):
        try:
            table = as_html(compare(runs, keys, [metric], sort=metric if names else None, allow_test=True))
        except UserError as mistake:
            if asked and not any(metric in summary.newest for summary in done):
                raise
            table = _warning(str(mistake))
        yield _folded(metric, table, opened=i < 3)


def _figures(runs: Sequence[RunSummary], done: Sequence[RunSummary], metrics: Sequence[str]) -> Iterator[str]:
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
    found = [figure for figure in drawn if figure]
    if found:
        yield f'<div class="row">{"".join(found)}</div>'


def _svg(title: str, draw: Callable[[], Plot]) -> str:
    """A figure inside the page; nothing where it cannot be drawn, which its table says."""
    try:
        made = draw()
    except UserError:
        return ""
    stream = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):  # so that names inside two figures are not the same
        made.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = stream.getvalue()
    return f"<figure>{text[text.index('<svg') :]}<figcaption>{html.escape(title)}</figcaption></figure>"


def _pictures(done: Sequence[RunSummary], keys: Sequence[str]) -> Iterator[str]:
    """The newest pictures of the first run of each setting, folded by name."""
    first: dict[str, RunSummary] = {}
    for summary in done:
        first.setdefault(label(keys, summary), summary)
    by_name: dict[str, list[tuple[str, Path]]] = {}
    for setting, summary in first.items():
        for picture in summary.run.newest_pictures:
            by_name.setdefault(picture.parent.name, []).append((setting, picture))
    for i, (name, found) in enumerate(sorted(by_name.items())):
        few = max(1, MOST_PICTURES // len(by_name))
        figures = [
            f'<figure><img loading="lazy" alt="{html.escape(f"{name}, {setting}")}" src="{_data(picture, image)}">'
            f"<figcaption>{html.escape(setting)}</figcaption></figure>"
            for setting, picture, image in whole_pictures(found[:few])
        ]
        more = f"<p>{len(found) - few} more settings are not shown.</p>" if len(found) > few else ""
        yield _folded(name, f'<div class="row">{"".join(figures)}</div>{more}', opened=i == 0)


def _data(picture: Path, image: Image.Image) -> str:
    """A small picture as it was written, without what its file says besides; any other drawn anew."""
    is_plain = image.mode in ("1", "L", "P", "RGB") and max(image.size) <= WIDEST
    found = picture.read_bytes() if is_plain and picture.stat().st_size <= 4 * WIDEST**2 else b""
    if not found:  # to draw it anew takes fifty times as long
        small = image.convert("RGB")
        small.thumbnail((WIDEST, WIDEST))
        stream = io.BytesIO()
        small.save(stream, "PNG", optimize=True)
        found = stream.getvalue()
    return f"data:image/png;base64,{base64.b64encode(_pixels(found)).decode()}"


def _pixels(png: bytes) -> bytes:
    """A PNG's pixels alone: no texts, times, places or further frames."""
    kept, at = [png[:8]], 8
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        kept += [png[at:end]] * (png[at + 4 : at + 8] in PIXELS)
        at = end
    return b"".join(kept)


def _runs(done: Sequence[RunSummary], others: Sequence[RunSummary], keys: Sequence[str], place: Path) -> Iterator[str]:
    columns = [*keys, "seed", "state", "epochs", "seconds"]
    lines = ["<tr>" + "".join(f"<th>{html.escape(column)}</th>" for column in ["run", *columns]) + "</tr>"]
    for summary in (*done, *others):
        cells = [_relative(summary.run.path, place), *(shown(summary.get(column)) for column in columns)]
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    yield _folded(f"all {len(done) + len(others)} runs", f'<div class="wide"><table>{"".join(lines)}</table></div>')


def _relative(path: Path, place: Path) -> str:
    """Inside the study, so that no other folder of this machine is told."""
    try:
        return str(path.resolve().relative_to(place.resolve()))
    except ValueError:
        return "/".join(path.parts[-2:])


def _configs(done: Sequence[RunSummary], keys: Sequence[str], places: Sequence[str | Path]) -> Iterator[str]:
    sweep = Path(places[0]) / "sweep.yaml"
    if sweep.is_file():
        yield _folded("the sweep's file", f"<pre>{html.escape(sweep.read_text())}</pre>")
    commands = []
    first: dict[str, RunSummary] = {}
    for summary in done:
        first.setdefault(label(keys, summary), summary)
        mine = [
            word for word in summary.run.overrides if not word.lstrip("+").startswith(("device.", "experiment_name="))
        ]
        commands.append(pasted("frame", "train", *mine))
    yield _folded("commands", f"<pre>{html.escape(chr(10).join(commands))}</pre>")
    known: dict[str, str] = {}  # the text of each part: settings differ in few of them
    for setting, summary in first.items():
        parts = []
        for key, value in summary.config.items():
            if key != "device":  # which is of a machine
                same = json.dumps([key, value])
                if same not in known:
                    known[same] = html.escape(as_yaml({key: value}))
                parts.append(known[same])
        yield _folded(f"config of {setting}", f"<pre>{''.join(parts)}</pre>")
