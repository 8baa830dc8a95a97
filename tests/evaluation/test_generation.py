"""Distances of samples and pictures: for copies, noise and a single repeated picture; features are trained once."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import NoNumber, TooFew, UserError
from frame.data.base import Batch, DataSet, Source
from frame.data.digits import Digits
from frame.data.memory import InMemory
from frame.data.take import Take
from frame.evaluation import feature_network
from frame.evaluation.base import LogEntry, evaluating
from frame.evaluation.feature_network import features_of
from frame.evaluation.generation import GenerationEvaluation

DIGITS = Digits()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(feature_network, "UPDATES", 150)
    yield


class Draws(nn.Module):
    """Its samples are these pictures, one after the other."""

    def __init__(self, pictures: Tensor) -> None:
        super().__init__()
        self.pictures = pictures
        self.asked: list[bool] = []

    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        self.asked.append(sample_images)
        return self.pictures[:n_samples]


class Unlabelled(DataSet):
    def load(self, split: str) -> Source:
        source = DIGITS.split(split)
        return InMemory(source.batch(torch.arange(len(source)))["x"])


class Binary(Digits):
    def load(self, split: str) -> Source:
        source = super().load(split)

        class Rounded:
            def __len__(self) -> int:
                return len(source)

            def batch(self, indices: Tensor) -> Batch:
                return source.batch(indices)

            def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
                rows = source.transform(batch, generator)
                return {**rows, "x": rows["x"].round()}

        return Rounded()


def pictures(split: str) -> Tensor:
    source = DIGITS.split(split)
    x: Tensor = source.transform(source.batch(torch.arange(len(source))), torch.Generator())["x"]
    return x


def run(model: nn.Module, data: DataSet = DIGITS, **arguments: Any) -> LogEntry:
    evaluation = GenerationEvaluation(**arguments)
    evaluation.check(model, data)
    with evaluating(model):
        return evaluation.evaluate(model, data)


def test_the_floor_is_what_training_pictures_would_have() -> None:
    order = torch.randperm(1297, generator=torch.Generator().manual_seed(0))
    found = run(Draws(pictures("train")[order])).scalars
    names = ["fid", "kid", "precision", "recall", "density", "coverage"]
    assert list(found) == names + [f"{name}/floor/train" for name in names]
    for name in names:  # because the rows of the floor are the same choice
        assert found[name].value == pytest.approx(found[f"{name}/floor/train"].value, abs=1e-6)
        assert found[name].n_samples == 300
        assert "features: LeNet trained here on Digits train" in found[name].estimator
        assert "% of test right, weights " in found[name].estimator
        assert "not comparable with published ones" in found[name].estimator
    assert 0 < found["fid/floor/train"].value < 3 and found["precision"].value > 0.8
    assert abs(found["kid"].value) < 3 * (found["kid"].standard_error or 0)
    p = found["precision"].value
    assert found["precision"].standard_error == pytest.approx(math.sqrt(p * (1 - p) / 300))


def test_copies_of_the_test_pictures_noise_and_a_collapsed_generator() -> None:
    floor = run(copies := Draws(pictures("test"))).scalars
    assert floor["fid"].value < 1e-4 and floor["precision"].value == floor["coverage"].value == 1
    assert copies.asked == [False]
    noise = run(Draws(torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(1)))).scalars
    assert noise["fid"].value > 10 * floor["fid/floor/train"].value and noise["coverage"].value < 0.3
    assert noise["kid"].value > 10 * abs(floor["kid/floor/train"].value)
    collapsed = run(Draws(pictures("test")[:1].repeat(300, 1, 1, 1))).scalars
    assert collapsed["precision"].value == 1 and collapsed["recall"].value < 0.02
    assert collapsed["coverage"].value < 0.1 and collapsed["fid"].value > 10 * floor["fid/floor/train"].value


def test_features_are_trained_once_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    first = features_of(DIGITS)
    assert torch.equal(torch.get_rng_state(), state)
    x = pictures("test")
    right = float(first.name.partition("train, ")[2].partition(" %")[0])
    assert right > 85 and first.of(x).shape == (300, 64)
    train = first.of(pictures("train"))
    assert train.mean(0).abs().max() < 1e-4 and train.var(0).mean() == pytest.approx(1, abs=1e-3)
    (file,) = (tmp_path / "frame" / "features").glob("Digits-*.pt")
    trained = feature_network._trained
    monkeypatch.setattr(feature_network, "_trained", None)
    again = features_of(Digits())
    assert again.name == first.name and torch.equal(again.of(x), first.of(x))
    monkeypatch.setattr(feature_network, "_trained", trained)
    file.write_bytes(b"half a file")
    anew = features_of(DIGITS)
    assert anew.name == first.name and torch.equal(anew.of(x), first.of(x))
    # other data, such as binarized pictures, have other features
    assert features_of(Binary()).name.split()[-1] != first.name.split()[-1]


def test_without_labels_features_are_principal_components() -> None:
    found = run(Draws(pictures("test")), Unlabelled()).scalars
    assert found["fid"].value < 1e-4
    assert "features: 64 principal components of pixels of Unlabelled train" in found["fid"].estimator
    assert "64 principal components" in run(Draws(pictures("test")), features="pca").scalars["kid"].estimator
    with pytest.raises(UserError, match="Unlabelled has no pictures with classes.*features=pca"):
        run(Draws(pictures("test")), Unlabelled(), features="classifier")


def test_pixels_are_drawn_if_the_data_are_binary() -> None:
    for data, chosen, drawn in ((Binary(), None, True), (DIGITS, None, False), (Binary(), False, False)):
        model = Draws(pictures("test"))
        found = run(model, data, sample_images=chosen, features="pca").scalars
        assert model.asked == [drawn]
        assert ("means of p(x|z)" in found["fid"].estimator) is not drawn


def test_errors_without_a_number() -> None:
    with pytest.raises(TooFew, match="4 pictures are too few for 64 features"):
        run(Draws(pictures("test")), Take(DIGITS, 4))
    with pytest.raises(NoNumber, match="NaN or infinite"):
        run(Draws(torch.full((300, 1, 8, 8), math.nan)), features="pca")
    with pytest.raises(UserError, match="needs a model that has sample"):
        run(nn.Identity())
    with pytest.raises(UserError, match="did you mean 'classifier'"):
        GenerationEvaluation(features="clasifier")
    with pytest.raises(UserError, match="n_samples=1"):
        GenerationEvaluation(n_samples=1)


def test_pictures_of_any_size_have_a_network() -> None:
    for shape, side in (((1, 8, 8), 4), ((1, 28, 28), 7), ((3, 32, 32), 8), ((1, 64, 64), 8), ((3, 5, 6), 2)):
        network = feature_network.LeNet(shape, 10)
        x = torch.rand(2, *shape)
        assert network(x).shape == (2, 10) and network.convolutions(x).shape[2] == side
