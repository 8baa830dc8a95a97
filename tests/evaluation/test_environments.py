"""Scores by environment, on rows whose predictions are known."""

import math

import pytest
import torch
from torch import Tensor, nn

from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.base import Unsuited, evaluating
from frame.evaluation.calibration import CalibrationEvaluation
from frame.evaluation.environments import EnvironmentsEvaluation

ENV = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2, 2, 7])


class Rows(DataSet):
    """x is 0 or 1; y is x, except in one row of environment 0 and four of 2; or numbers, x and something."""

    splits = ("valid",)

    def __init__(self, numbers: bool = False) -> None:
        super().__init__()
        self.numbers = numbers

    def load(self, split: str) -> Source:
        x = (torch.arange(10) % 2).float().unsqueeze(1)
        if self.numbers:
            found = InMemory(x, env=ENV)
            found.columns["y"] = x.squeeze(1) + ENV / 2
            return found
        wrong = torch.tensor([1, 0, 0, 0, 1, 1, 1, 1, 0, 0])
        return InMemory(x, (x.squeeze(1).long() + wrong) % 2, env=ENV)


class Reads(nn.Module):
    """Predicts that y is x."""

    inputs = ("x",)

    def __init__(self, numbers: bool = False) -> None:
        super().__init__()
        self.numbers = numbers

    def predict(self, x: Tensor) -> Tensor:
        return x.squeeze(1) if self.numbers else torch.cat([1 - x, x], 1).add(1e-3).log()


def test_accuracies_by_hand() -> None:
    evaluation, model, data = EnvironmentsEvaluation(), Reads(), Rows()
    evaluation.check(model, data)
    with evaluating(model):
        found = evaluation.evaluate(model, data)
    values = {key: scalar.value for key, scalar in found.scalars.items()}
    assert values == {"worst": 20.0, "0": 75.0, "2": 20.0, "7": 100.0}
    assert found.scalars["2"].n_samples == 5 and found.scalars["worst"].better == "more"
    assert math.isnan(found.scalars["7"].standard_error or 0)  # of one row
    declared = evaluation.declare(model, data)
    assert dict(declared.numbers) == {key: scalar.unit for key, scalar in found.scalars.items()}


def test_squared_errors_by_hand() -> None:
    evaluation, model, data = EnvironmentsEvaluation(), Reads(True), Rows(True)
    evaluation.check(model, data)
    with evaluating(model):
        found = evaluation.evaluate(model, data)
    values = {key: scalar.value for key, scalar in found.scalars.items()}
    assert values == {"worst": 3.5**2, "0": 0.0, "2": 1.0, "7": 3.5**2}
    assert found.scalars["worst"].better == "less"
    assert dict(evaluation.declare(model, data).numbers) == dict.fromkeys(values, "squared error")


def test_a_calibration_of_numbers_is_refused() -> None:
    with pytest.raises(Unsuited, match="CalibrationEvaluation needs classes; 'y' of Rows holds numbers"):
        CalibrationEvaluation("valid").check(Reads(True), Rows(True))
