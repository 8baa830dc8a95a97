"""Disturbed pictures: the accuracy, its mean and standard error, and errors."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import NoNumber, UserError
from frame.data.augment import Drop, Noise
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.floors import ALL_FLOORS
from frame.evaluation.robustness import RobustnessEvaluation
from frame.probability.distributions import Delta


class Sides(DataSet):
    """White on the left is class 0, on the right 1; 'unlabelled' has no classes."""

    splits = ("train", "valid", "test", "unlabelled")

    def load(self, split: str) -> Source:
        x, y = torch.zeros(200, 1, 6, 6), torch.arange(200) % 2
        x[y == 0, :, :, :3] = 1
        x[y == 1, :, :, 3:] = 1
        return InMemory(x, None if split == "unlabelled" else y)


class Half(nn.Module):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(torch.stack([x[..., :3].mean((1, 2, 3)), x[..., 3:].mean((1, 2, 3))], 1))


class Named(Half):
    """A network as a floor."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Pixel(Half):
    """Predicts the class from the first pixel: correct if it is not dropped, and always for class 1."""

    def predict(self, x: Tensor) -> Tensor:
        first = x[:, 0, 0, 0]
        return torch.stack([4 * first - 2, torch.zeros_like(first)], 1).log_softmax(1)


DROP = {"drop": {"change": partial(Drop), "strengths": [0.5, 1.0], "unit": "part"}}


def test_predictions_fall_as_pixels_do() -> None:
    evaluation = RobustnessEvaluation({**DROP, "noise": {"change": Noise, "strengths": [0.0]}})
    evaluation.check(Pixel(), Sides())
    entry = evaluation.evaluate(Pixel(), Sides())
    entry.check()
    scalars = entry.scalars
    assert set(scalars) == {"", "drop", "drop/0.5", "drop/1", "noise", "noise/0", "clean"} and entry.split == "test"
    assert scalars["clean"].value == scalars["noise"].value == 100
    rows = entry.tables["strengths"][1]
    assert [row[:2] for row in rows] == [["drop", 0.5], ["drop", 1.0], ["noise", 0.0]]
    assert rows[0][2] == pytest.approx(75, abs=8) and rows[1][2] == 50.0
    half = scalars["drop/0.5"]
    assert (half.value, scalars["drop/1"].value) == (rows[0][2], rows[1][2]) and half.n_samples == 200
    p = half.value / 100
    assert (
        half.standard_error == pytest.approx(100 * (p * (1 - p) / 200) ** 0.5) and "strength 0.5 part" in half.estimator
    )
    assert scalars["drop"].value == pytest.approx((rows[0][2] + rows[1][2]) / 2)
    assert scalars[""].value == pytest.approx(sum(row[2] for row in rows) / 3)
    # in class 0, half has 1/2 over both strengths and half has 0; class 1 always has 1: s / sqrt(N) over pictures
    assert scalars["drop"].standard_error == pytest.approx(100 * 0.415 / 200**0.5, rel=0.15)
    assert "predict()" in scalars[""].estimator and scalars[""].layer == ""
    assert entry.figures[""].axes[0].get_xlabel() == "drop (part)"
    assert entry.figures[""].axes[1].get_xlabel() == "noise"


def test_a_model_without_predictions_is_probed_on_clean_codes() -> None:
    evaluation = RobustnessEvaluation(DROP, cs=[0.1, 1.0])
    evaluation.check(Half(), Sides())
    scalars = evaluation.evaluate(Half(), Sides()).scalars
    assert scalars["clean"].value == 100 and scalars["clean"].layer == "mean"
    assert scalars["drop"].value == 75  # half of the pixels are still informative, dropped ones are not
    for words in ("one of 2 [C = 0.1]", "200 clean codes of train", "chosen on valid, test touched by that"):
        assert words in scalars[""].estimator


def test_the_probe_comes_with_its_floors_on_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    class Linear(Half):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(36, 3)

        def encode(self, x: Tensor) -> Distribution:
            return Delta(self.linear(x.flatten(1)))

    evaluation, model, data = RobustnessEvaluation(DROP, cs=[1.0]), Linear(), Sides()
    entry = evaluation.evaluate(model, data)
    entry.check()
    monkeypatch.delattr("frame.evaluation.robustness.floor_codes")  # a callback measures them once
    assert evaluation.evaluate(model, data).scalars == entry.scalars
    monkeypatch.undo()
    mine = [key for key in entry.scalars if "floor" not in key]
    for floor in ("pixels", "pca", "untrained"):
        assert all(f"floor/{floor}/{key}".rstrip("/") in entry.scalars for key in mine)
        assert entry.scalars[f"floor/{floor}/clean"].value == 100
        assert entry.scalars[f"floor/{floor}/drop/1"].value == 50  # black pictures are all of one class
    assert len(entry.scalars) == 4 * len(mine)
    assert [len(row) for row in entry.tables["strengths"][1]] == [6, 6]
    networks = [Named(f"network_{number}") for number in range(6)]
    every = RobustnessEvaluation(DROP, cs=[1.0], floors=[*ALL_FLOORS, *networks]).evaluate(model, data)
    every.check()  # there are more floors than kinds of lines and colours
    lines = every.figures[""].axes[0].containers
    assert len(lines) == 11 == len({(line[0].get_marker(), line[0].get_color()) for line in lines})
    without = RobustnessEvaluation(DROP, cs=[1.0], floors=[]).evaluate(Half(), Sides())
    assert not any("floor" in key for key in without.scalars)
    with pytest.raises(UserError, match="floor"):
        RobustnessEvaluation(DROP, floors=["noise"])


def test_the_same_noise_each_time() -> None:
    found = [RobustnessEvaluation(DROP).evaluate(Pixel(), Sides()).scalars[""] for _ in range(2)]
    assert found[0] == found[1]


def test_errors_are_one_line() -> None:
    with pytest.raises(UserError, match="needs a model that has predict or encode"):
        RobustnessEvaluation(DROP).check(nn.Linear(2, 2), Sides())
    with pytest.raises(UserError, match="predict or features"):
        RobustnessEvaluation(DROP, layer="features").check(Half(), Sides())
    with pytest.raises(UserError, match="needs 'y' in the data"):
        RobustnessEvaluation(DROP, "unlabelled").check(Pixel(), Sides())

    class Constant(Half):
        def encode(self, x: Tensor) -> Distribution:
            return Delta(torch.ones(len(x), 2))

    with pytest.raises(NoNumber, match="codes are equal"):
        RobustnessEvaluation(DROP).evaluate(Constant(), Sides())
    wrong: Any
    for wrong in ({"drop": {"change": Drop}}, {"drop": {"change": Drop(0.5), "strengths": []}}, {}):
        with pytest.raises(UserError, match="perturbation"):
            RobustnessEvaluation(wrong)
    for wrong in ({"layer": "means"}, {"n_samples": 0}, {"n_train_samples": 0}):
        with pytest.raises(UserError):
            RobustnessEvaluation(DROP, **wrong)
