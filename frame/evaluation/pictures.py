"""Grids of pictures."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

GAP = 3  # pixels between pictures
PAPER = 255
DOTS = 100  # pixels of an inch of a figure
APART = 0.12  # between panels of series, in panels
FRAME: dict[str, Any] = {"facecolor": "none", "edgecolor": "0.8", "linewidth": 0.8}
MOST_LETTERS = 12  # of a class's name in a picture
SMALLEST = 56  # pixels: smaller pictures are enlarged by a whole factor, without smoothing


def grid(pictures: Tensor, n_columns: int) -> np.ndarray:
    """Pictures [N, C, H, W] in [0, 1], C = 1 or 3, row after row on white: [height, width, 3] uint8.

    Args:
        n_columns: pictures in a row; empty places in the last row are white.
    """
    pictures = pictures.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1)
    factor = math.ceil(SMALLEST / min(pictures.shape[-2:]))
    pictures = pictures.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
    n, _, height, width = pictures.shape
    n_rows = math.ceil(n / n_columns)
    canvas = torch.full((n_rows * (height + GAP) + GAP, n_columns * (width + GAP) + GAP, 3), PAPER, dtype=torch.uint8)
    for i, picture in enumerate((pictures * 255).round().to(torch.uint8)):
        top = GAP + (i // n_columns) * (height + GAP)
        left = GAP + (i % n_columns) * (width + GAP)
        canvas[top : top + height, left : left + width] = picture.permute(1, 2, 0)
    image: np.ndarray = canvas.numpy()
    return image


def labelled_grid(
    pictures: Tensor, n_columns: int, rows: Sequence[str] = (), columns: Sequence[str] = (), below: str = ""
) -> Figure:
    """`grid` as a figure, pixel for pixel, with labels that are sharp at any size.

    Args:
        pictures, n_columns: as `grid` takes them.
        rows: labels to the left of the rows.
        columns: labels below the columns.
        below: what the columns are, or a caption.
    """
    image = grid(pictures, n_columns)
    height, width = image.shape[:2]
    n_rows = math.ceil(len(pictures) / n_columns)
    # a digit is about 0.09 inches wide; a caption may be wider than few pictures
    left = 0.15 + 0.09 * max((len(label) for label in rows), default=0)
    bottom = 0.05 + 0.22 * bool(columns) + 0.22 * (1 + below.count("\n")) * bool(below)
    longest = 0.08 * max(len(line) for line in below.split("\n"))
    wide, high = width / DOTS, height / DOTS
    margin = max(0.1, (longest - wide) / 2 + 0.1)
    left, right = max(left, margin), margin
    figure = Figure(figsize=(left + wide + right, bottom + high + 0.1), dpi=DOTS)
    size = figure.get_size_inches()
    axes = figure.add_axes((left / size[0], bottom / size[1], wide / size[0], high / size[1]))
    axes.imshow(image, interpolation="nearest", aspect="auto")
    axes.set_yticks([GAP / 2 + (i + 0.5) * (height - GAP) / n_rows for i in range(len(rows))], rows)
    axes.set_xticks([GAP / 2 + (i + 0.5) * (width - GAP) / n_columns for i in range(len(columns))], columns)
    axes.set_xlabel(below)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def series_grid(
    series: Sequence[tuple[str, Tensor]], n_columns: int, below: str = "", most_channels: int = 3
) -> Figure:
    """Series as lines over their steps: each panel has the same row of every set, and all have the same scales.

    All panels are drawn on one pair of axes, because matplotlib takes a tenth of a second for each pair.

    Args:
        series: a name and the rows [N, C, T] of each set, such as originals and their reconstructions: the first is
            drawn in full, the second dashed. Steps that are NaN are left out.
        n_columns: panels in a row.
        below: a caption.
        most_channels: channels that are drawn; each has a colour.
    """
    n, n_channels, n_steps = series[0][1].shape
    n_rows, shown = math.ceil(n / n_columns), min(n_channels, most_channels)
    drawn = [rows[:, :shown].detach().float().cpu().numpy() for _, rows in series]  # [N, C, T]
    low, high = _range(drawn)
    column, row = np.arange(n) % n_columns, n_rows - 1 - np.arange(n) // n_columns
    left, bottom = column * (1 + APART), row * (1 + APART)  # of each panel, whose sides are 1
    x = left[:, None] + np.linspace(0, 1, n_steps) if n_steps > 1 else left[:, None] + 0.5  # [N, T]

    figure = Figure(figsize=(0.3 + 1.6 * n_columns, 0.7 + 1.2 * n_rows), dpi=DOTS, layout="constrained")
    axes = figure.subplots()
    axes.add_collection(PatchCollection([Rectangle(at, 1, 1) for at in zip(left, bottom, strict=True)], **FRAME))
    for (name, _), rows, style in zip(series, drawn, ("-", "--"), strict=False):
        for channel in range(shown):
            y = bottom[:, None] + (rows[:, channel] - low) / (high - low)
            label = name if channel == 0 else None
            lines: list[Any] = [*np.stack((x, y), axis=-1)]  # N of [T, 2]
            axes.add_collection(
                LineCollection(lines, colors=f"C{channel}", linestyles=style, linewidths=1, label=label)
            )
    margin = 0.03
    axes.set_xlim(-margin, left.max() + 1 + margin)
    axes.set_ylim(-margin, bottom.max() + 1 + margin)
    ends = ("0", str(n_steps - 1))
    columns, rows_ = np.unique(left), np.unique(bottom)
    axes.set_xticks(np.add.outer(columns, (0, 1)).ravel(), ends * len(columns), fontsize=7)
    axes.set_yticks(np.add.outer(rows_, (0, 1)).ravel(), [f"{low:.3g}", f"{high:.3g}"] * len(rows_), fontsize=7)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(series) > 1:
        figure.legend(fontsize=8, ncols=2, loc="outside upper right")
    left_out = f"; the first {shown} of {n_channels} channels" if shown < n_channels else ""
    axes.set_xlabel(f"step\n{below}{left_out}" if below else "step", fontsize=8)
    return figure


def _range(drawn: Sequence[np.ndarray]) -> tuple[float, float]:
    """The smallest and the largest finite number, a little apart if they are equal."""
    finite = np.concatenate([values[np.isfinite(values)] for values in drawn])
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)
