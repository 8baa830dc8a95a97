"""Other figures of a study: parallel coordinates, and its pictures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from frame.analysis.figures import HEIGHT, STYLE, WIDTH, Plot
from frame.analysis.rows import by_seed
from frame.analysis.series import finished, label, repeated, settings, unit_of
from frame.common.errors import Damaged, UserError, choices
from frame.common.inside import name_of
from frame.common.output import say
from frame.runs.listing import RunSummary, shown


def parallel(places: Sequence[str | Path] | Sequence[RunSummary], y: str) -> Plot:
    """Parallel coordinates: a line for each setting through its parameters, coloured by the mean of a metric."""
    done, notes = finished(places)
    unit = unit_of(done, y)
    keys = settings(done)
    if not keys:
        raise UserError("the runs differ in no parameter: there is nothing to plot")
    rows = []
    for key, group in repeated(done, keys).items():
        found = [*by_seed(group, y).values()]
        if found:
            rows.append([*key, len(found), float(np.mean(found))])
    columns = [[row[i] for row in rows] for i in range(len(keys))] + [[row[-1] for row in rows]]
    places_of = [_places(column) for column in columns]
    heights = np.array([place for place, _ in places_of]).T  # [rows, axes], each in [0, 1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(WIDTH, 1.1 * len(columns)), HEIGHT + 0.3), layout="constrained")
        axes = figure.subplots()
        colour = matplotlib.colormaps["viridis"]
        for height in sorted(heights.tolist(), key=lambda height: height[-1]):
            axes.plot(range(len(columns)), height, color=colour(0.92 * height[-1]), linewidth=1, alpha=0.85)
        for i, (_, ticks) in enumerate(places_of):
            axes.axvline(i, color="#444444", linewidth=0.7)
            for place, text in ticks:
                axes.annotate(text, (i, place), (3, 0), textcoords="offset points", fontsize=6.5, va="center",
                              bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})  # fmt: skip
        names = [
            *(key.removeprefix("params.") for key in keys),
            y.replace("/", "/\n", 1 if len(y) > 12 else 0) + (f"\n({unit})" if unit else ""),
        ]
        axes.set_xticks(range(len(columns)), names)
        axes.set(yticks=[], xlim=(-0.1, len(columns) - 0.55))
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(axis="x", length=0)
    return Plot(figure, [*keys, "runs", y], rows, notes)


def _places(column: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights in [0, 1], and labels: of all values if they are few, else of the ends and the middle."""
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)
    if numeric and len(set(column)) > 1:
        low, high = min(column), max(column)
        logarithm = low > 0 and high / low > 50 and len(set(column)) > 2
        at = [math.log(v) if logarithm else float(v) for v in column]
        bottom, top = min(at), max(at)
        place = [(v - bottom) / (top - bottom) for v in at]
        ticks = {p: shown(v) for p, v in zip(place, column, strict=True)}
        if len(ticks) > 6:
            middle = math.exp((bottom + top) / 2) if logarithm else (bottom + top) / 2
            ticks = {0.0: shown(low), 0.5: f"{middle:.3g}", 1.0: shown(high)}
        return place, [*ticks.items()]
    names = sorted(dict.fromkeys(column), key=str)
    place = [0.5 if len(names) == 1 else names.index(value) / (len(names) - 1) for value in column]
    return place, [*{p: shown(v) for p, v in zip(place, column, strict=True)}.items()]


def newest_picture(summary: RunSummary, name: str) -> Path | None:
    """The newest picture that a run drew under a name."""
    return next((found for found in summary.run.newest_pictures if found.parent.name == name_of(name)), None)


def read_picture(file: Path) -> Image.Image:
    """Reads a picture of a run completely.

    Raises:
        Damaged: it is not a complete PNG, or far too large.
    """
    try:
        with Image.open(file, formats=["PNG"]) as image:  # readers of other formats start programs
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "it is not a PNG" if isinstance(error, UnidentifiedImageError) else error
        raise Damaged(f"{file} cannot be read ({reason}): remove it") from None


def whole_pictures(found: Sequence[tuple[str, Path]]) -> list[tuple[str, Path, Image.Image]]:
    """The pictures with their pixels. Damaged ones are named on stderr and left out."""
    whole = []
    for text, file in found:
        try:
            whole.append((text, file, read_picture(file)))
        except Damaged as damaged:
            say(f"left out: {damaged}")
    return whole


def pictures(places: Sequence[str | Path], name: str) -> Plot:
    """The newest pictures of this name, one for each setting (its first seed), side by side."""
    done, notes = finished(places)
    known = {picture.parent.name for summary in done for picture in summary.run.newest_pictures}
    keys = settings(done)
    found = []
    for group in repeated(done, keys).values():
        file = next((file for s in group if (file := newest_picture(s, name)) is not None), None)
        if file is not None:
            found.append((label(keys, group[0]), file))
    if not found:
        raise UserError(choices(name, known, kind="pictures of these runs"))
    whole = whole_pictures(found)
    if not whole:
        raise UserError(f"no picture {name} can be read")
    n_columns = min(len(whole), 4, math.ceil(math.sqrt(len(whole))))
    n_rows = math.ceil(len(whole) / n_columns)
    drawn = [np.asarray(image.convert("RGB")) for _, _, image in whole]
    ratio = max(image.shape[0] / image.shape[1] for image in drawn)
    wide = WIDTH if n_columns <= 2 else 2 * WIDTH
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(wide, n_rows * (wide / n_columns * ratio + 0.25)), layout="constrained")
        every = figure.subplots(n_rows, n_columns, squeeze=False).flat
        for axes, pixels, (text, _, _) in zip(every, drawn, whole, strict=False):
            axes.imshow(pixels, interpolation="nearest")
            axes.set_title(text, fontsize=7)
        for axes in figure.axes:
            axes.set_axis_off()
    return Plot(figure, ["setting", "picture"], [[text, str(file)] for text, file, _ in whole], notes)


def of_records(places: Sequence[str | Path], kind: str, y: str | None = None, hue: str | None = None) -> Plot:
    """`rate_distortion` or `information_plane` of the finished runs, from the records whose names begin with `y`."""
    from frame.analysis import curves
    from frame.runs.listing import results

    done, notes = finished(places)
    table = results([summary.run.path for summary in done])
    if y is not None:
        table = table[table["name"].str.startswith(y)]
        if not len(table):
            raise UserError(choices(y, {name for s in done for name in s.newest}, kind="metric of these runs"))
    draw = curves.rate_distortion if kind == "rate_distortion" else curves.information_plane
    with matplotlib.rc_context(STYLE):
        figure = draw(table, hue)
    head = ["run", "seed", "name", "iteration", "value"]
    return Plot(figure, head, table[head].values.tolist(), notes)
