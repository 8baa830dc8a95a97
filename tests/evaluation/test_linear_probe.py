"""Probes of a model: the rows to train, choose and test on, the floors, and the record."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import NoNumber, UserError
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.data.targets import Targets
from frame.evaluation.base import Evaluation, LogEntry
from frame.evaluation.confusion import confusion_figure
from frame.evaluation.few_labels import FewLabelsEvaluation
from frame.evaluation.linear_probe import LinearProbeEvaluation, SGDProbeEvaluation
from frame.evaluation.neighbours import NeighbourEvaluation
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


class Unequal(Rows):
    """Half of all rows are of the first class."""

    def load(self, split: str) -> Source:
        rows = super().load(split)
        assert isinstance(rows, InMemory)
        y = torch.tensor([0, 1, 0, 2])[torch.arange(len(rows)) % 4]
        return InMemory(nn.functional.one_hot(y, 3).float(), y)


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


class Numbers(DataSet):
    """Numbers y = 3 z_0 - z_1 + 100 of codes z, or of each of them, or whether each is positive."""

    splits = ("train", "valid", "test")

    def __init__(self, kind: str, noise: float = 0.0) -> None:
        super().__init__()
        self.kind, self.noise = kind, noise
        scale = np.array(4.0) if kind == "number" else None
        self.targets = Targets("numbers", scale=scale) if kind != "labels" else Targets("labels", ("a", "b", "c"))

    def load(self, split: str) -> Source:
        generator = torch.Generator().manual_seed(len(split))
        z = torch.randn(SIZES[split], 3, generator=generator)
        number = 3 * z[:, 0] - z[:, 1] + 100
        y = {"number": number, "numbers": 100 * z, "labels": z > 0, "constant": 0 * number}[self.kind]
        source = InMemory(z + self.noise * torch.randn(z.shape, generator=generator))
        source.columns["y"] = y
        return source


@pytest.mark.parametrize("evaluation", [LinearProbeEvaluation(cs=[0.01, 100.0]), NeighbourEvaluation("test", 3)])
@pytest.mark.parametrize("kind", ["number", "numbers", "labels"])
def test_numbers_and_labels_are_predicted_and_floors_stand_beside_them(evaluation: Evaluation, kind: str) -> None:
    model, data = Reads(), Numbers(kind)
    evaluation.check(model, data)
    entry, declared = evaluation.evaluate(model, data), evaluation.declare(model, data)
    entry.check()
    named = {"number": ["R2", "mean_absolute_error"], "numbers": ["R2"], "labels": ["macro_F1", "average_precision"]}
    scores = named[kind]
    floors = ("pixels", "pca", "untrained", "untrained_features")
    keys = [*scores, *(f"features/{s}" for s in scores), *(f"{scores[0]}/floor/{name}" for name in floors)]
    assert set(entry.scalars) == set(keys) and declared.names("x") == entry.names("x")
    assert {key: scalar.unit for key, scalar in entry.scalars.items()} == declared.numbers
    best = entry.scalars[scores[0]]
    limit = 60 if kind == "labels" else 0.6
    assert best.value > limit and best.interval is not None and best.interval[0] <= best.value <= best.interval[1]
    assert best.better == "more" and best.layer == "mean" and best.n_samples == 60
    assert entry.scalars[f"features/{scores[0]}"].value < best.value
    if kind != "number":
        rows = entry.tables["targets"][1]
        assert [row[0] for row in rows] == (["a", "b", "c"] if kind == "labels" else ["0", "1", "2"])
        assert sum(row[1] for row in rows) / 3 == pytest.approx(best.value)


def test_balanced_accuracy_stands_beside_the_accuracy_of_unequal_classes() -> None:
    model, data = Reads(), Unequal()
    evaluation = LinearProbeEvaluation(cs=[1.0], floors=[])
    entry, declared = evaluation.evaluate(model, data), evaluation.declare(model, data)
    assert set(entry.scalars) == {"", "balanced_accuracy", "features", "features/balanced_accuracy"}
    assert {key: one.unit for key, one in entry.scalars.items()} == declared.numbers
    assert entry.scalars["balanced_accuracy"].value == 100.0  # one-hot rows
    # the feature tells the first class alone, so two of three classes share what is left
    assert entry.scalars["features/balanced_accuracy"].value == pytest.approx(200 / 3)
    assert entry.scalars["features"].value == pytest.approx(75.0)


def test_the_ridge_is_chosen_on_valid_and_errors_have_the_units_of_the_file() -> None:
    entry = LinearProbeEvaluation(cs=[1e-4, 100.0], floors=(), layers=["mean"]).evaluate(Reads(), Numbers("number"))
    assert entry.scalars["R2"].value > 0.9999 and "ridge regression, one of 2 [C = 100" in entry.scalars["R2"].estimator
    columns, rows = entry.tables["valid"]
    assert columns == ["C", "R2 on valid"] and rows[0][1] < rows[1][1]
    error = entry.scalars["mean_absolute_error"]
    noisy = LinearProbeEvaluation(cs=[100.0], floors=(), layers=["mean"]).evaluate(Reads(), Numbers("number", 1.0))
    assert error.better == "less" and error.value < 0.1 < noisy.scalars["mean_absolute_error"].value
    assert noisy.scalars["R2"].value == pytest.approx(0.5, abs=0.2)
    # errors of y are about sqrt(2 / pi) std(y) sqrt(1 - R2), and one unit of y is four of the file
    expected = 4 * (2 / np.pi) ** 0.5 * 10**0.5 * (1 - noisy.scalars["R2"].value) ** 0.5
    assert noisy.scalars["mean_absolute_error"].value == pytest.approx(expected, rel=0.2)


def test_targets_that_cannot_be_judged_are_one_line() -> None:
    for evaluation in (LinearProbeEvaluation(floors=()), NeighbourEvaluation(floors=())):
        with pytest.raises(NoNumber, match="all 90 rows have the same number, 0: R2 is not defined"):
            evaluation.evaluate(Reads(), Numbers("constant"))
    with pytest.raises(UserError, match="SGDProbeEvaluation needs classes; 'y' of Numbers holds several labels a row"):
        SGDProbeEvaluation().check(Reads(), Numbers("labels"))
    with pytest.raises(UserError, match="CalibrationEvaluation needs|FewLabelsEvaluation needs classes"):
        FewLabelsEvaluation().check(Reads(), Numbers("number"))


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
