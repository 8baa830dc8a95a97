"""Scores of a model's own predictions: of classes, labels and numbers."""

import math

import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

from frame.common.errors import NoNumber
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.accuracy import AccuracyEvaluation


class Rows(DataSet):
    """Rows whose 'y' is given."""

    splits = ("valid",)

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.source = InMemory(x)
        self.source.columns["y"] = y

    def load(self, split: str) -> Source:
        return self.source


class Says(nn.Module):
    """Its predictions are its inputs."""

    def predict(self, x: Tensor) -> Tensor:
        return x


RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(40, 3, generator=RANDOM)


def found(x: Tensor, y: Tensor) -> dict[str, float]:
    evaluation, data = AccuracyEvaluation(), Rows(x, y)
    evaluation.check(Says(), data)
    entry, declared = evaluation.evaluate(Says(), data), evaluation.declare(Says(), data)
    entry.check()
    assert {key: one.unit for key, one in entry.scalars.items()} == declared.numbers
    assert entry.names("x") == declared.names("x")
    return {key: one.value for key, one in entry.scalars.items()}


def test_classes() -> None:
    y = torch.tensor([0] * 25 + [1] * 10 + [2] * 5)
    ours, p = found(X.log_softmax(1), y), X.argmax(1)
    assert ours[""] == pytest.approx(100 * metrics.accuracy_score(y, p)) == pytest.approx(100 - ours["error"])
    assert ours["balanced_accuracy"] == pytest.approx(100 * metrics.balanced_accuracy_score(y, p))
    assert ours["cross_entropy"] == pytest.approx(metrics.log_loss(y, X.double().softmax(1)), rel=1e-5)


def test_labels() -> None:
    y = torch.rand(40, 3, generator=RANDOM) < 0.3
    ours, p = found(X.sigmoid().log(), y), X.sigmoid()
    assert ours["macro_F1"] == pytest.approx(100 * metrics.f1_score(y, p > 0.5, average="macro"))
    assert ours["average_precision"] == pytest.approx(100 * metrics.average_precision_score(y, p))
    expected = nn.functional.binary_cross_entropy_with_logits(X, y.float(), reduction="none").sum(1).mean()
    assert ours["cross_entropy"] == pytest.approx(float(expected), rel=1e-4)
    assert math.isfinite(found(torch.zeros(40, 3), y)["cross_entropy"])  # a probability of 1 that is wrong


def test_numbers() -> None:
    y = X[:, 0] + torch.randn(40, generator=RANDOM)
    ours = found(X[:, 0], y)
    assert ours["R2"] == pytest.approx(metrics.r2_score(y, X[:, 0]))
    assert ours["mean_absolute_error"] == pytest.approx(metrics.mean_absolute_error(y, X[:, 0]))
    several = torch.stack([y, 2 * X[:, 1]], 1)
    assert found(X[:, :2], several)["R2"] == pytest.approx(metrics.r2_score(several, X[:, :2]))
    with pytest.raises(NoNumber, match="all 40 rows have the same number, 1: R2 is not defined"):
        found(X[:, 0], torch.ones(40))
