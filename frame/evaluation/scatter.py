"""Codes of a split in two dimensions, coloured and marked by their classes."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor, nn

from frame.common.errors import TooFew, UserError, at_least
from frame.data.base import DataSet
from frame.evaluation.base import Encodes, Evaluation, LogEntry, Scalar
from frame.evaluation.codes import codes_of
from frame.evaluation.colours import COLOURS, MARKERS, look
from frame.evaluation.scored import Target
from frame.evaluation.shards import once
from frame.measures.geometry import finite
from frame.measures.neighbours import check_codes
from frame.measures.pca import PCA
from frame.measures.scores import kind_of


class PCAScatterEvaluation(Evaluation):
    """The first two principal components of the means of encode(x); 'explained' is their share of the variance in %.

    A code of one dimension is plotted against 0. Each class has a colour, a shape, and its name at its median. Of
    several labels a row, each set of labels is a class. Numbers have a scale of colours; of several, the first.

    Args:
        evaluate_on: split.
        n_samples: pictures of it; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 2.
        NoNumber: from `evaluate`, codes that are NaN or all equal.
    """

    needs = (Encodes,)
    numbers = {"explained": "%"}
    pictures = ("",)

    def __init__(self, evaluate_on: str = "test", n_samples: int | None = 2000) -> None:
        super().__init__(evaluate_on)
        at_least(2, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        found = codes_of(model, data, self.evaluate_on, "mean", self.n_samples)
        codes = finite(found.codes)
        check_codes(codes)
        positions, labels, scalars = once(lambda: self.placed(codes))  # UMAP takes long
        below = f"{len(codes)} means of q(z|x), {self.evaluate_on}"
        names: Sequence[str] = ()
        if found.y is not None:
            target = Target.of(data, self.evaluate_on)
            names = target.named(found.y.shape[1]) if found.y.dim() > 1 else target.names
        figure = scatter(positions, found.y, labels, below, names)
        return LogEntry(self.evaluate_on, scalars, figures={"": figure})

    def placed(self, codes: Tensor) -> tuple[Tensor, tuple[str, str], dict[str, Scalar]]:
        """Codes [N, D] -> positions [N, 2], the names of both axes, and numbers."""
        positions = PCA(codes.float(), 2)(codes.float())
        shares = 100 * positions.var(0, correction=0) / codes.var(0, correction=0).sum().float()
        if positions.shape[1] < 2:
            positions = torch.cat([positions, torch.zeros_like(positions)], 1)
            shares = torch.cat([shares, shares.new_zeros(1)])
        names = [f"component {i + 1}: {share:.1f} % of the variance" for i, share in enumerate(shares.tolist())]
        estimator = f"first two of {codes.shape[1]} principal components"
        explained = Scalar(shares.sum().item(), "%", len(codes), estimator, layer="mean", better="")
        return positions, (names[0], names[1]), {"explained": explained}


class UMAPScatterEvaluation(PCAScatterEvaluation):
    """The means of encode(x) by UMAP (McInnes, Healy and Melville 2018, 1802.03426), which preserves neighbourhoods.

    Distances between clusters and their sizes mean little. Needs the extra `umap`.

    Args:
        evaluate_on: split.
        n_samples: pictures of it; all of them if None or if there are fewer.
        n_neighbours: few show fine structure, many show global structure.
        min_dist: how close points may lie.
        seed: seed of the layout; a seeded UMAP uses one core.

    Raises:
        UserError: a number is out of range; from `check`, UMAP is not installed.
        TooFew: from `evaluate`, there are no more codes than neighbours.
    """

    numbers = {}

    def __init__(
        self,
        evaluate_on: str = "test",
        n_samples: int | None = 2000,
        n_neighbours: int = 15,
        min_dist: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(evaluate_on, n_samples)
        at_least(2, n_neighbours=n_neighbours)
        at_least(0, min_dist=min_dist)
        self.n_neighbours, self.min_dist, self.seed = n_neighbours, min_dist, seed

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        _umap()

    def placed(self, codes: Tensor) -> tuple[Tensor, tuple[str, str], dict[str, Scalar]]:
        if len(codes) <= self.n_neighbours:
            raise TooFew(f"{len(codes)} codes are too few for {self.n_neighbours} neighbours: give more")
        layout = _umap().UMAP(n_neighbors=self.n_neighbours, min_dist=self.min_dist, random_state=self.seed, n_jobs=1)
        positions = torch.as_tensor(layout.fit_transform(codes.float().numpy()))
        return positions, ("UMAP 1, no unit", "UMAP 2, no unit"), {}


def _umap() -> Any:
    try:
        return importlib.import_module("umap")  # imported here because it is an extra and takes seconds
    except ImportError as error:
        raise UserError(
            f"UMAP is not installed ({error}): pip install 'frame-representations[umap]', or use pca_scatter"
        ) from None


def scatter(
    positions: Tensor, y: Tensor | None, axes_names: tuple[str, str], title: str, names: Sequence[str] = ()
) -> Figure:
    """Points [N, 2] by class [N]: each has a colour, a shape, an entry in the legend and its name among the points.

    Args:
        positions: [N, 2].
        y: classes [N], labels [N, K], or numbers [N] or [N, K], of which the first gives the colours; None: none.
        axes_names: of both axes.
        title: above the points.
        names: of the classes, or of K labels or numbers.
    """
    figure = Figure(figsize=(7, 5.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    size = 14 if len(positions) > 500 else 30
    h, v = positions.double().numpy().T
    if y is None:
        axes.scatter(h, v, s=size, color=COLOURS[0], linewidths=0)
    elif kind_of(y) == "numbers":
        values = y.reshape(len(y), -1)[:, 0].double().numpy()
        points = axes.scatter(h, v, s=size, c=values, cmap="viridis", linewidths=0, alpha=0.8)
        figure.colorbar(points, ax=axes, label=names[0] if names else "y")
    else:
        classes, which = _classes(y, names)
        for i, label in enumerate(classes):
            mine, (colour, marker) = which == i, look(i)
            axes.scatter(h[mine], v[mine], s=size, marker=marker, color=colour, linewidths=0, alpha=0.7, label=label)
        if len(classes) <= 2 * len(MARKERS):
            _name(axes, {label: np.stack([h, v])[:, which == i] for i, label in enumerate(classes)})
            figure.legend(title="class", loc="outside right upper", markerscale=2, frameon=False)
    axes.set_xlabel(axes_names[0])
    axes.set_ylabel(axes_names[1])
    axes.set_title(title, fontsize=10)
    return figure


def _classes(y: Tensor, names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The names of classes [N], or of each set of labels [N, K] that occurs, and the number of each row's, [N]."""
    found, which = y.unique(return_inverse=True, dim=0)
    if y.dim() == 1:
        of = dict(enumerate(names))
        return [of.get(label, str(label)) for label in found.tolist()], which.numpy()
    sets = [[name for name, there in zip(names, row, strict=True) if there] for row in found.tolist()]
    return [" + ".join(those) or "none" for those in sets], which.numpy()


def _name(axes: Axes, classes: dict[str, np.ndarray]) -> None:
    """Writes each class's name at its median, unless another median is near."""
    size = np.ptp(np.concatenate([*classes.values()], 1), 1)
    middles = {name: np.median(points, 1) for name, points in classes.items()}
    around = [withStroke(linewidth=3, foreground="white")]
    for name, middle in middles.items():
        if all((np.abs(middle - other) > 0.035 * size).any() for key, other in middles.items() if key != name):
            axes.annotate(
                name, tuple(middle), fontsize=14, weight="bold", ha="center", va="center", path_effects=around
            )
