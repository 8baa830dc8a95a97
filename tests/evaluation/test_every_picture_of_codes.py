"""Pictures of codes: everything is in its place, nothing is shown by colour alone, and bad codes are one line."""

import math
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures.base import DiagonalNormal, UniformCube
from frame.common.errors import NoNumber, TooFew, UserError
from frame.data.base import DataSet
from frame.data.digits import Digits
from frame.data.take import Take
from frame.evaluation.aggregate_posterior import AggregatePosteriorEvaluation
from frame.evaluation.base import Evaluation, LogEntry, evaluating
from frame.evaluation.colours import COLOURS, MARKERS
from frame.evaluation.interpolations import InterpolationEvaluation, is_standard_normal, linear, spherical
from frame.evaluation.linear_probe import LinearProbeEvaluation
from frame.evaluation.neighbour_pictures import NeighbourPictureEvaluation
from frame.evaluation.pictures import GAP
from frame.evaluation.scatter import PCAScatterEvaluation, UMAPScatterEvaluation
from frame.evaluation.traversals import LatentTraversalEvaluation
from frame.loggers.base import pixels
from frame.probability.distributions import Delta, diagonal_normal
from tests.evaluation.test_generation import Unlabelled

DIGITS = Digits()


class Pixels(nn.Module):
    """Code and picture are the same 64 numbers; q(z|x) is narrow."""

    def __init__(self, prior: Any = None) -> None:
        super().__init__()
        self.prior = prior or DiagonalNormal(64)

    def encode(self, x: Tensor) -> Distribution:
        return diagonal_normal(x.flatten(1), torch.full((len(x), 64), 1e-3))

    def decode(self, z: Tensor) -> Delta:
        return Delta(z.view(-1, 1, 8, 8))

    def p_z(self) -> Distribution:
        p_z: Distribution = self.prior()
        return p_z

    def sample_prior(self, n_samples: int) -> Tensor:
        return self.p_z().sample(torch.Size([n_samples]))


class Deterministic(nn.Module):
    def encode(self, x: Tensor) -> Delta:
        return Delta(x.flatten(1))

    def decode(self, z: Tensor) -> Delta:
        return Delta(z.view(-1, 1, 8, 8))


class Constant(Pixels):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(torch.zeros(len(x), 64))


class Diverged(Pixels):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(torch.full((len(x), 64), math.nan))


def run(evaluation: Evaluation, model: nn.Module | None = None, data: DataSet = DIGITS) -> LogEntry:
    model = model or Pixels()
    evaluation.check(model, data)
    with evaluating(model):
        return evaluation.evaluate(model, data)


def cell(figure: Figure, row: int, column: int) -> np.ndarray:
    image = np.asarray(figure.axes[0].images[0].get_array())
    top, left = GAP + row * (56 + GAP), GAP + column * (56 + GAP)
    return image[top : top + 56, left : left + 56]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


# Interpolations


def test_paths_between_codes() -> None:
    a, b = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [4.0, 0.0]])
    t = torch.tensor([0.0, 0.5, 1.0])
    assert linear(a, b, t)[0].tolist() == [[1, 0], [0.5, 0.5], [0, 1]]
    root = math.sqrt(0.5)
    torch.testing.assert_close(spherical(a, b, t)[0], torch.tensor([[1, 0], [root, root], [0, 1]]))
    assert spherical(a, b, t)[1].tolist() == [[2, 0], [3, 0], [4, 0]]  # the same direction: no division by 0
    long = spherical(torch.randn(5, 200), torch.randn(5, 200), torch.linspace(0, 1, 7))
    assert (long.norm(dim=-1) - math.sqrt(200)).abs().max() < 3
    assert is_standard_normal(DiagonalNormal(3)()) and not is_standard_normal(UniformCube(3)())
    assert not is_standard_normal(diagonal_normal(torch.ones(3), torch.ones(3)))


def test_interpolations_begin_and_end_with_the_pictures() -> None:
    found = run(InterpolationEvaluation("test", 3, 5)).figures
    assert list(found) == ["", "spherical"]
    for figure in found.values():
        for row in range(3):
            # the code is the picture: its reconstruction is beside it, and another picture in the middle
            assert np.array_equal(cell(figure, row, 0), cell(figure, row, 1))
            assert np.array_equal(cell(figure, row, 5), cell(figure, row, 6))
            assert not np.array_equal(cell(figure, row, 3), cell(figure, row, 1))
        mean = (cell(found[""], 0, 1).astype(float) + cell(found[""], 0, 5)) / 2
        assert np.abs(cell(found[""], 0, 3) - mean).max() <= 1
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert labels == ["picture", "0", "0.25", "0.5", "0.75", "1", "picture"]
        assert " → " in figure.axes[0].get_yticklabels()[0].get_text()
    assert list(run(InterpolationEvaluation("test", 3), Pixels(UniformCube(64))).figures) == [""]
    alone = run(InterpolationEvaluation("test", 3), Deterministic(), Unlabelled()).figures[""]
    assert alone.axes[0].get_yticklabels()[0].get_text() == "pair 1"
    for evaluation in (InterpolationEvaluation("test", 3), LatentTraversalEvaluation("test")):
        with pytest.raises(NoNumber, match="NaN or infinite"):
            run(evaluation, Diverged())
    with pytest.raises(TooFew, match="4 pictures are too few for 3 pairs"):
        run(InterpolationEvaluation("test", 3), data=Take(DIGITS, 4))


# Neighbours


def test_a_training_picture_is_nearest_to_itself_and_ticks_are_right() -> None:
    figure = run(NeighbourPictureEvaluation("test", 6, 4)).figures[""]
    said = [text for text in texts(figure) if text not in ("query", "nearest first")]
    assert len(said) == 6 * 5
    for row in range(6):
        query, *others = said[5 * row : 5 * row + 5]
        for other in others:
            assert other == f"{'✓' if other[2:] == query else '✗'} {other[2:]}"
    styles = {patch.get_linestyle() for patch in figure.axes[0].patches}
    crosses = sum(text.startswith("✗") for text in said)
    assert len(figure.axes[0].patches) == 24 and (len(styles) == 2) is (0 < crosses < 24)
    # on train a picture is not its own neighbour, or each row would show the query again
    images = [
        np.asarray(image.get_array())
        for image in run(NeighbourPictureEvaluation("train", 3, 2)).figures[""].axes[0].images
    ]  # noqa: E501
    assert len(images) == 9 and not any(np.array_equal(images[3 * i], images[3 * i + 1]) for i in range(3))


def test_neighbours_are_the_nearest_by_distance() -> None:
    figure = run(NeighbourPictureEvaluation("test", 2, 3)).figures[""]
    images = [np.asarray(image.get_array())[::7, ::7, 0] / 255 for image in figure.axes[0].images]
    train = DIGITS.split("train")
    x = train.transform(train.batch(torch.arange(len(train))), torch.Generator())["x"].flatten(1).numpy()
    for row in range(2):
        query = images[4 * row].ravel()
        nearest = np.argsort(((x - query) ** 2).sum(1), kind="stable")[:3]
        for k in range(3):
            assert np.abs(images[4 * row + 1 + k].ravel() - x[nearest[k]]).max() < 0.003


def test_neighbours_without_labels_have_no_marks_and_bad_codes_are_one_line() -> None:
    figure = run(NeighbourPictureEvaluation("test", 2, 3), data=Unlabelled()).figures[""]
    assert texts(figure) == ["query", "nearest first"] and not figure.axes[0].patches
    with pytest.raises(NoNumber, match="all 1297 codes are equal"):
        run(NeighbourPictureEvaluation(), Constant())
    with pytest.raises(TooFew, match="4 pictures are too few for 10 neighbours"):
        run(NeighbourPictureEvaluation(), data=Take(DIGITS, 4))


# Scatter


def test_components_and_their_share() -> None:
    entry = run(PCAScatterEvaluation("test"))
    figure, explained = entry.figures[""], entry.scalars["explained"]
    source = DIGITS.split("test")
    x = source.transform(source.batch(torch.arange(300)), torch.Generator())["x"].flatten(1).double()
    spectrum = torch.linalg.svdvals(x - x.mean(0)).square()
    assert explained.value == pytest.approx(100 * (spectrum[:2].sum() / spectrum.sum()).item(), rel=1e-4)
    axes = figure.axes[0]
    assert axes.get_xlabel() == f"component 1: {100 * spectrum[0] / spectrum.sum():.1f} % of the variance"
    points = np.concatenate([collection.get_offsets() for collection in axes.collections])
    assert points.shape == (300, 2) and len(axes.collections) == 10
    assert points[:, 0].var() == pytest.approx(float(spectrum[0]) / 300, rel=1e-3)
    # a class has its own shape, its own line in the legend and its name among the points
    shapes = {np.asarray(collection.get_paths()[0].vertices).tobytes() for collection in axes.collections}
    assert len(shapes) == 10 and set(texts(figure)) <= {str(i) for i in range(10)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [str(i) for i in range(10)]


def test_colours_and_shapes_together_distinguish_many_classes() -> None:
    assert len({(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i in range(88)}) == 88


def test_scatter_of_invalid_codes() -> None:
    assert not run(PCAScatterEvaluation(), data=Unlabelled()).figures[""].legends
    with pytest.raises(NoNumber, match="codes are equal"):
        run(PCAScatterEvaluation(), Constant())
    with pytest.raises(NoNumber, match="NaN or infinite"):
        run(PCAScatterEvaluation(), Diverged())

    class OneNumber(Pixels):
        def encode(self, x: Tensor) -> Distribution:
            return Delta(x.flatten(1).mean(1, keepdim=True))

    entry = run(PCAScatterEvaluation(), OneNumber())
    assert entry.scalars["explained"].value == pytest.approx(100, rel=1e-4)


def test_umap_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"UMAP is not installed .*pip install 'frame-representations\[umap\]'"):
        run(UMAPScatterEvaluation())

    class UMAP(SimpleNamespace):
        def fit_transform(self, codes: np.ndarray) -> np.ndarray:
            assert (self.n_neighbors, self.min_dist, self.random_state) == (7, 0.2, 3)
            return codes[:, 20:22]

    module = ModuleType("umap")
    module.UMAP = UMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    figure = run(UMAPScatterEvaluation("test", 100, 7, 0.2, 3)).figures[""]
    assert figure.axes[0].get_xlabel() == "UMAP 1, no unit" and len(figure.axes[0].collections) == 10
    with pytest.raises(TooFew, match="4 codes are too few for 15 neighbours"):
        run(UMAPScatterEvaluation(), data=Take(DIGITS, 4))


# Aggregate posterior


def test_the_most_active_dimensions_are_shown_with_the_prior() -> None:
    figure = run(AggregatePosteriorEvaluation("test", 4)).figures[""]
    source = DIGITS.split("test")
    x = source.transform(source.batch(torch.arange(300)), torch.Generator())["x"].flatten(1)
    dims = x.var(0).argsort(descending=True)[:4].tolist()
    assert [axes.get_xlabel() for axes in figure.axes[:4]] == [f"z[{dim}]" for dim in dims]
    for axes in figure.axes[:4]:  # histograms are densities
        area = sum(patch.get_width() * patch.get_height() for patch in axes.patches)  # type: ignore[attr-defined]
        assert area == pytest.approx(1, abs=1e-6)
        (line,) = axes.lines
        height = dict(zip(np.round(line.get_xdata(), 6).tolist(), line.get_ydata(), strict=True))  # type: ignore[arg-type]
        at = min(height, key=abs)
        assert height[at] == pytest.approx(math.exp(-(at**2) / 2) / math.sqrt(2 * math.pi), rel=1e-4)
    both = [axes for axes in figure.axes[4:] if axes.images]
    assert [axes.get_title() for axes in both] == ["pictures, q(z)", "prior, p(z)"]
    assert both[0].images[0].get_clim() == both[1].images[0].get_clim()
    assert figure.axes[-1].get_ylabel() == "density"


def test_a_prior_that_is_not_gaussian_is_shown_by_samples() -> None:
    figure = run(AggregatePosteriorEvaluation("test", 1), Pixels(UniformCube(64))).figures[""]
    assert len(figure.axes) == 1 and not figure.axes[0].lines and figure.legends == []
    with pytest.raises(NoNumber, match="codes are equal"):
        run(AggregatePosteriorEvaluation(), Constant())
    with pytest.raises(NoNumber, match="NaN or infinite"):
        run(AggregatePosteriorEvaluation(), Diverged())
    with pytest.raises(UserError, match="needs a model that has sample_prior"):
        run(AggregatePosteriorEvaluation(), Deterministic())


@pytest.mark.parametrize(
    "evaluation",
    [
        InterpolationEvaluation("test", 2, 3),
        NeighbourPictureEvaluation("test", 2, 3),
        PCAScatterEvaluation("test", 50),
        AggregatePosteriorEvaluation("test", 3, 50),
    ],
    ids=lambda evaluation: type(evaluation).__name__,
)
def test_each_can_be_drawn(evaluation: Evaluation) -> None:
    for figure in run(evaluation).figures.values():
        image = pixels(figure)
        assert image.std() > 10 and image.shape[0] > 150


def test_numbers_out_of_range_are_named() -> None:
    for make, match in (
        (lambda: InterpolationEvaluation(n_pairs=0), "n_pairs=0"),
        (lambda: InterpolationEvaluation(n_steps=1), "n_steps=1"),
        (lambda: NeighbourPictureEvaluation(n_queries=0), "n_queries=0"),
        (lambda: PCAScatterEvaluation(n_samples=1), "n_samples=1"),
        (lambda: UMAPScatterEvaluation(n_neighbours=1), "n_neighbours=1"),
        (lambda: AggregatePosteriorEvaluation(n_dims=0), "n_dims=0"),
    ):
        with pytest.raises(UserError, match=match):
            make()


# Names of classes

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "number nine of ten")


class Named(Digits):
    classes = WORDS


def test_classes_have_their_names_in_pictures() -> None:
    data, whole = Named(), {*WORDS[:9], "number nine…"}
    named, numbered = (
        [
            label.get_text()
            for label in run(InterpolationEvaluation("test", 3), data=of).figures[""].axes[0].get_yticklabels()
        ]
        for of in (data, DIGITS)
    )
    assert named == [re.sub(r"\d", lambda digit: WORDS[int(digit[0])][:11], text[6:]) for text in numbered]
    scatter = run(PCAScatterEvaluation("test"), data=data).figures[""]
    assert {text.get_text() for text in scatter.legends[0].get_texts()} == {*WORDS}
    found = run(NeighbourPictureEvaluation("test", 20), data=data).figures[""]
    names = {text.lstrip("✓✗ ") for text in texts(found)} - {"query", "nearest first"}
    assert names <= {*WORDS[:9], "number n…"} and len(names) >= 8
    probe = run(LinearProbeEvaluation("test", layers=["mean"], floors=[]), data=data).figures["confusion"]
    assert {label.get_text() for label in probe.axes[0].get_xticklabels()} == whole
