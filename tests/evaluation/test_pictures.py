"""Grids of pictures and of series."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.collections import LineCollection

from frame.evaluation.pictures import series_grid


def test_panels_of_series_show_each_row_in_its_place(tmp_path: Path) -> None:
    series = torch.arange(3 * 2 * 4).view(3, 2, 4).float()
    series[2, 0, 2:] = float("nan")
    figure = series_grid([("originals", series), ("reconstructions", series + 1)], 2)
    (axes,) = figure.axes
    lines = [found for found in axes.collections if isinstance(found, LineCollection)]
    assert len(lines) == 2 * 2  # sets times channels
    first = [np.asarray(path.vertices) for path in lines[0].get_paths()]  # channel 0 of the originals
    left = [np.nanmin(path[:, 0]) for path in first]
    assert left[0] == left[2] < left[1]
    assert np.nanmin(first[2][:, 1]) < np.nanmin(first[0][:, 1])  # the third row is in the row of panels below
    # values are on one scale: 0 is the lowest of all, 24 the highest
    np.testing.assert_allclose(first[0][:, 1] - first[0][0, 1], np.arange(4) / 24, atol=1e-6)
    figure.savefig(tmp_path / "series.png")


def test_series_that_are_constant_or_nowhere_finite_are_drawn(tmp_path: Path) -> None:
    for value in (1.0, float("nan")):
        series_grid([("", torch.full((1, 1, 1), value))], 1).savefig(tmp_path / "series.png")
