"""Grids of pictures."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

GAP = 3  # pixels between pictures
PAPER = 255
DOTS = 100  # pixels of an inch of a figure
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
