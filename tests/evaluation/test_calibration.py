"""Calibration of a model: the split that chooses the temperature, and the record."""

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import NoNumber, UserError
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.calibration import CalibrationEvaluation


class Drawn(DataSet):
    """x are logits, and y is drawn from their probabilities; on 'valid' from those of logits / 2."""

    splits = ("train", "valid", "test", "unlabelled")

    def load(self, split: str) -> Source:
        generator = torch.Generator().manual_seed(len(split))
        x = 2 * torch.randn(3000, 4, generator=generator)
        p = (x / 2 if split == "valid" else x).softmax(1)
        y = torch.multinomial(p, 1, generator=generator).squeeze(1)
        return InMemory(x, None if split == "unlabelled" else y)


class Says(nn.Module):
    def __init__(self, sharper: float = 1.0) -> None:
        super().__init__()
        self.sharper = sharper

    def predict(self, x: Tensor) -> Tensor:
        return (self.sharper * x).log_softmax(1)


def test_the_temperature_is_fitted_on_valid_and_tested_on_test() -> None:
    evaluation = CalibrationEvaluation()
    evaluation.check(Says(), Drawn())
    entry = evaluation.evaluate(Says(), Drawn())
    entry.check()
    parts = ("equal_mass", "nll", "brier", "scaled", "scaled/equal_mass", "scaled/nll", "scaled/brier", "temperature")
    assert set(entry.scalars) == {"", *parts} and entry.split == "test"
    scalars = entry.scalars
    assert scalars["temperature"].value == pytest.approx(2, rel=0.1)
    # it is calibrated on test, and valid's temperature makes that worse
    assert scalars[""].value < 3 < 8 < scalars["scaled"].value and scalars[""].unit == "%"
    assert scalars["scaled/nll"].value > scalars["nll"].value and scalars["nll"].standard_error
    assert "15 bins of equal width" in scalars[""].estimator and scalars[""].n_samples == 3000
    assert "of valid" in scalars["scaled"].estimator
    helped = evaluation.evaluate(Says(2.0), Drawn()).scalars
    assert helped["temperature"].value == pytest.approx(4, rel=0.1)


def test_one_split_for_both_is_called_optimistic() -> None:
    found = CalibrationEvaluation("test", fit_on="test").evaluate(Says(3.0), Drawn()).scalars
    assert found["temperature"].value == pytest.approx(3, rel=0.1) and found["scaled"].value < found[""].value
    assert "optimistic" in found["scaled"].estimator


def test_the_figure_has_a_column_for_each() -> None:
    figure = CalibrationEvaluation().evaluate(Says(), Drawn()).figures[""]
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert titles[0].startswith("as predicted") and titles[1].startswith("temperature")
    assert figure.axes[2].get_xlabel().startswith("confidence")


def test_errors_are_one_line() -> None:
    with pytest.raises(UserError, match="'unlabelled' has none"):
        CalibrationEvaluation(fit_on="unlabelled").check(Says(), Drawn())
    with pytest.raises(UserError, match="needs 'y' in the data"):
        CalibrationEvaluation("unlabelled").check(Says(), Drawn())
    with pytest.raises(UserError, match="needs a model that has predict"):
        CalibrationEvaluation().check(nn.Linear(2, 2), Drawn())
    with pytest.raises(NoNumber, match="NaN"):
        CalibrationEvaluation().evaluate(Says(float("nan")), Drawn())
    with pytest.raises(NoNumber, match="10 rows are too few for 15 bins"):
        CalibrationEvaluation(n_samples=10).evaluate(Says(), Drawn())
    with pytest.raises(UserError, match="n_bins=0"):
        CalibrationEvaluation(n_bins=0)
