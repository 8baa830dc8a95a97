"""Probes of a model: the rows to train, choose and test on, the floors, and the record."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import NoNumber, UserError
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.base import LogEntry
from frame.evaluation.confusion import confusion_figure
from frame.evaluation.linear_probe import LinearProbeEvaluation, SGDProbeEvaluation
from frame.probability.distributions import Delta

SIZES = {"train": 90, "valid": 45, "test": 60}


class Rows(DataSet):
    """Three classes, noisy one-hot; 'unlabelled' has no classes."""

    splits = ("train", "valid", "test", "unlabelled")

    def load(self, split: str) -> Source:
        n = SIZES.get(split, 30)
        y = torch.arange(n) % 3
        noise = torch.randn(n, 3, generator=torch.Generator().manual_seed(len(split)))
        return InMemory(nn.functional.one_hot(y, 3) + 0.1 * noise, None if split == "unlabelled" else y)


class Reads(nn.Module):
    """The code is x after a layer that has learned to keep it; features show only the first class."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(3))
            self.layer.bias.zero_()

    def encode(self, x: Tensor) -> Distribution:
        return Delta(self.layer(x))

    def features(self, x: Tensor) -> Tensor:
        return self.layer(x)[:, :1]


class Constant(nn.Module):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(torch.ones(len(x), 2))


def test_layers_floors_and_the_record() -> None:
    model, data = Reads(), Rows()
    evaluation = LinearProbeEvaluation(cs=[0.01, 1.0])
    evaluation.check(model, data)
    entry = evaluation.evaluate(model, data)
    entry.check()
    floors = {f"floor/{name}" for name in ("pixels", "pca", "untrained", "untrained_features")}
    assert set(entry.scalars) == {"", "features", *floors} and entry.split == "test"
    found = entry.scalars[""]
    assert (found.value, found.unit, found.n_samples, found.layer) == (100.0, "%", 60, "mean")
    assert entry.scalars["features"].value < 80 and entry.scalars["features"].layer == "features"
    for words in (
        "logistic regression, one of 2 [C = 0.01, at the end of those tried]",
        "90 of train",
        "chosen on valid, test touched once",
    ):
        assert words in found.estimator
    columns, rows = entry.tables["valid"]
    assert columns == ["C", "accuracy on valid (%)"] and rows[0] == [0.01, 100.0]
    assert set(entry.figures) == {"confusion", "features/confusion"}
    again = evaluation.evaluate(model, data)
    assert all(again.scalars[name] is entry.scalars[name] for name in floors)


def test_the_test_split_is_only_tested_on() -> None:
    """Another test set changes neither the choice nor the probe."""

    class Other(Rows):
        def load(self, split: str) -> Source:
            source = super().load(split)
            if split == "test":
                assert isinstance(source, InMemory) and source.y is not None
                return InMemory(source.x, (source.y + 1) % 3)
            return source

    evaluation = LinearProbeEvaluation(layers=["mean"], floors=())
    here, there = evaluation.evaluate(Reads(), Rows()), evaluation.evaluate(Reads(), Other())
    assert here.tables == there.tables and there.scalars[""].value == 0.0
    assert here.scalars[""].estimator == there.scalars[""].estimator


def test_a_record_says_if_its_split_was_used_before() -> None:
    def of(split: str) -> LogEntry:
        return LinearProbeEvaluation(split, layers=["mean"], floors=()).evaluate(Reads(), Rows())

    assert "optimistic" in of("valid").scalars[""].estimator
    assert "rows that it was trained on" in of("train").scalars[""].estimator


def test_records_of_sgd_describe_its_settings() -> None:
    evaluation = SGDProbeEvaluation(lrs=[0.1, 0.3], n_epochs=5, batch_size=16, layers=["mean"], floors=["pixels"])
    entry = evaluation.evaluate(Reads(), Rows())
    assert entry.scalars[""].value == entry.scalars["floor/pixels"].value == 100.0
    for words in ("SGD, 5 epochs, batch 16, momentum 0.9, cosine", "one of 2 [lr = 0.1, at the end of those tried]"):
        assert words in entry.scalars[""].estimator
    assert entry.tables["valid"][0][0] == "lr"


def test_errors_are_one_line() -> None:
    with pytest.raises(UserError, match="needs 'y' in the data"):
        LinearProbeEvaluation("unlabelled").check(Reads(), Rows())
    with pytest.raises(UserError, match="needs a model that has encode"):
        LinearProbeEvaluation().check(nn.Linear(2, 2), Rows())
    with pytest.raises(NoNumber, match="codes are equal"):
        LinearProbeEvaluation(floors=()).evaluate(Constant(), Rows())
    model = Reads()
    nn.init.constant_(model.layer.bias, float("nan"))
    with pytest.raises(NoNumber, match="training codes have NaN"):
        LinearProbeEvaluation(floors=()).evaluate(model, Rows())
    with pytest.raises(NoNumber, match="too few"):
        LinearProbeEvaluation(floors=(), n_train_samples=4).evaluate(Reads(), Rows())
    wrong: dict[str, Any]
    for wrong in ({"cs": []}, {"cs": [-1.0]}, {"layers": ["means"]}, {"floors": ["pixel"]}, {"n_samples": 0}):
        with pytest.raises(UserError):
            LinearProbeEvaluation(**wrong)
    for wrong in ({"lrs": [0.0]}, {"n_epochs": 0}, {"momentum": 1.0}):
        with pytest.raises(UserError):
            SGDProbeEvaluation(**wrong)


def test_the_confusion_shows_per_cent_of_the_true_class() -> None:
    figure = confusion_figure(torch.tensor([[3, 1], [0, 0]]), "two")
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == {"75.0", "25.0"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert not confusion_figure(torch.ones(30, 30), "many").axes[0].texts
