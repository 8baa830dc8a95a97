"""`frame plot`: figures of many runs, one column of a paper wide, with their numbers as a CSV file."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from frame.analysis.series import MOST_POINTS, PROGRESS, Series, curves, finished, unit_of, values
from frame.common.errors import UserError, choices
from frame.common.escaping import cell
from frame.common.files import write_text
from frame.evaluation.colours import COLOURS, LINES, look
from frame.runs.listing import RunSummary, shown

if TYPE_CHECKING:
    import pandas

WIDTH, HEIGHT = 3.3, 2.4  # inches
# text in the PDF stays text
STYLE: Any = {
    "font.size": 8,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
BANDS = ("ci", "sd", "none")


@dataclass
class Plot:
    """A figure with its numbers.

    Args:
        figure: matplotlib's.
        head, numbers: the columns and rows of its CSV file.
        notes: what is left out.
    """

    figure: Figure
    head: list[str]
    numbers: list[list[Any]]
    notes: list[str]

    def __post_init__(self) -> None:
        """Escapes each `$` of a run's name, so that it starts no formula. A logarithmic axis has `$` of its own."""
        for text in self.figure.findobj(Text):
            text.set_parse_math(False)
        for axes in self.figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                for text in axis.get_ticklabels(which="both"):
                    text.set_parse_math(axis.get_scale() == "log")

    @property
    def data(self) -> "pandas.DataFrame":
        """The numbers of the figure."""
        import pandas

        return pandas.DataFrame(
            [[None if one == "" else one for one in line] for line in self.numbers], columns=self.head
        )

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        stream = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(stream, format="png", dpi=150)
        return stream.getvalue()

    def csv(self) -> str:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([*map(cell, line)] for line in [self.head, *self.numbers])
        return stream.getvalue()

    def write(self, out: Path) -> None:
        """Writes the figure, in the format of the file's suffix, and its numbers as a CSV file.

        Raises:
            UserError: matplotlib knows no such format.
        """
        formats = self.figure.canvas.get_supported_filetypes()
        if out.suffix[1:] not in formats or out.suffix in ("", ".csv"):
            raise UserError(f"out={out}: a figure ends in .pdf, .svg or .png")
        out.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(out, dpi=300)
        write_text(out.with_suffix(".csv"), self.csv())


def plot(
    places: Sequence[str | Path] | Sequence[RunSummary],
    x: str,
    y: str,
    *,
    hue: Sequence[str] = (),
    band: str = "ci",
    log: str = "",
    title: str = "",
) -> Plot:
    """Plots a metric over a key of the runs ('params.beta'), or over iterations, epochs, seconds, samples or flops.

    Args:
        places: folders with runs at any depth, patterns, or summaries.
        x: a key, or a unit of progress.
        y: a metric, or a cost.
        hue: keys; there is a line for each of their values. By default, for learning curves: all keys that differ.
        band: 'ci', the 95 % t interval over seeds, 'sd', their standard deviation, or 'none'.
        log: the logarithmic axes: 'x', 'y' or 'xy'.

    Raises:
        UserError: there is no such run, key or metric; runs that would be averaged differ in a parameter; or a metric
            was measured in several ways.
    """
    if band not in BANDS:
        raise UserError(choices(band, BANDS, kind="band"))
    if log not in ("", "x", "y", "xy"):
        raise UserError(choices(log, ("x", "y", "xy"), kind="log"))
    done, notes = finished(places)
    if x in PROGRESS:
        lines = curves(done, x, y, hue)
        logged = bool(lines) and not any(y in summary.newest for summary in done)
        unit = "" if logged else unit_of(done, y)
    else:
        unit = unit_of(done, y)
        lines = values(done, x, y, hue)
    if not lines:
        raise UserError(f"no run has both {x} and {y}")
    numbers = []
    for line in lines:
        mean, low, high = line.points(band)
        for at, several, m, one, other in zip(line.x, line.values, mean, low, high, strict=True):
            numbers.append([line.label, at, len(several), m, *("" if math.isnan(v) else v for v in (one, other))])
    every = max(line.every for line in lines)
    if every > 1:
        notes.append(f"of more than {MOST_POINTS:,} points, one in {every} is drawn and in the CSV")
    fewest, most = min(row[2] for row in numbers), max(row[2] for row in numbers)
    if fewest < most:
        notes.append(f"points are means of {fewest} to {most} runs, see the CSV")
    label_x = PROGRESS.get(x, x.removeprefix("params."))
    figure = _lines(lines, label_x, f"{y} ({unit})" if unit else y, band=band, log=log, title=title)
    if x in PROGRESS and "x" not in log:
        figure.axes[0].set_xlim(left=0)  # a training starts there
    head = [",".join(hue) or "line", x, "runs", y, *(f"{band}_{end}" for end in ("low", "high"))]
    return Plot(figure, head, numbers, notes)


def _lines(lines: Sequence[Series], x: str, y: str, *, band: str, log: str, title: str) -> Figure:
    names = list(dict.fromkeys(at for line in lines for at in line.x))
    numeric = all(isinstance(name, int | float) and not isinstance(name, bool) for name in names)
    for axis, there in (("x", names), ("y", [v for line in lines for several in line.values for v in several])):
        if axis in log and not (all(isinstance(v, int | float) and v > 0 for v in there)):
            raise UserError(f"log={axis}: not all values of {x if axis == 'x' else y} are above 0")
    if not numeric:
        return _dots(lines, names, x, y, band=band, log=log, title=title)
    with matplotlib.rc_context(STYLE):
        n_beside = 2 if max(len(line.label) for line in lines) <= 18 else 1  # columns of the legend
        n_below = 0 if len(lines) == 1 else math.ceil(len(lines) / n_beside)
        figure = Figure(figsize=(WIDTH, HEIGHT + 0.16 * n_below), layout="constrained")
        axes = figure.subplots()
        for i, line in enumerate(lines):
            at = np.array(line.x, dtype=float)
            mean, low, high = line.points(band)
            (colour, marker), few = look(i), len(at) <= 12
            style = LINES[i // len(COLOURS) % len(LINES)]
            axes.plot(
                at, mean, style, color=colour, marker=marker, markersize=4 if few else 3,
                markevery=1 if few else max(1, len(at) // 10), linewidth=1.2, label=line.label,
            )  # fmt: skip
            there = ~np.isnan(low)
            if few and there.any():
                errors = np.stack([mean - low, high - mean])[:, there]
                axes.errorbar(at[there], mean[there], errors, fmt="none", ecolor=colour, elinewidth=0.8, capsize=2)
            if there.any():
                axes.fill_between(at, low, high, where=there, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel=x, ylabel=_broken(y), title=title, **{f"{axis}scale": "log" for axis in log})
        if "x" in log and len(names) <= 6:
            axes.set_xticks(names, [f"{name:g}" for name in names])
            axes.minorticks_off()
        axes.grid(alpha=0.25, linewidth=0.5)
        if len(lines) > 1:
            figure.legend(loc="outside lower center", ncols=n_beside, frameon=False, fontsize=7)
    return figure


def _dots(lines: Sequence[Series], names: Sequence[Any], x: str, y: str, *, band: str, log: str, title: str) -> Figure:
    """A row for each name, sorted by means, so that names are horizontal. Points are not joined."""
    means = {name: np.mean([np.mean(v) for s in lines for at, v in zip(s.x, s.values, strict=True) if at == name])
             for name in names}  # fmt: skip
    rows = {name: i for i, name in enumerate(sorted(names, key=lambda name: float(means[name])))}
    apart = 0.5 / len(lines)  # the lines of a row are drawn below one another
    with matplotlib.rc_context(STYLE):
        n_below = 0 if len(lines) == 1 else math.ceil(len(lines) / 2)
        tall = 0.7 + 0.16 * n_below + len(names) * max(0.17, 0.09 * len(lines))
        figure = Figure(figsize=(WIDTH, tall), layout="constrained")
        axes = figure.subplots()
        for i, line in enumerate(lines):
            mean, low, high = line.points(band)
            heights = np.array([rows[at] for at in line.x]) + apart * ((len(lines) - 1) / 2 - i)
            half = np.nan_to_num(np.stack([mean - low, high - mean]))
            colour, marker = look(i)
            axes.errorbar(
                mean, heights, xerr=half, fmt=marker, color=colour,
                markersize=4, elinewidth=0.8, capsize=0 if len(names) > 12 else 2, label=line.label,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), [shown(name) for name in rows])
        axes.set(xlabel=_broken(y, 40), ylabel=x if len(names) > 3 else "", title=title, ylim=(-0.7, len(names) - 0.3))
        if "y" in log:
            axes.set_xscale("log")
        axes.grid(axis="x", alpha=0.25, linewidth=0.5)
        if len(lines) > 1:
            figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure


def _broken(name: str, most: int = 30) -> str:
    """Breaks a text after a '/' or a space, so that each line has at most `most` letters and fits beside its axis."""
    lines = [""]
    for part in re.findall(r"[^/ ]*[/ ]?", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > most:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def default_name(options: Mapping[str, str]) -> str:
    """'ELBO_Test_over_beta.pdf'."""
    parts = [options.get("kind", ""), options.get("name", ""), options.get("y", ""), "over", options.get("x", "")]
    words = [part.removeprefix("params.").replace("/", "_") for part in parts if part not in ("", "values")]
    return "_".join(words if options.get("x") else [word for word in words if word != "over"]) + ".pdf"
