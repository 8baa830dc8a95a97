"""Few labels: the rows and codes that are used, and the record."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent

from frame.common.errors import UserError
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.few_labels import FewLabelsEvaluation
from frame.measures.probes import few_label_probe
from frame.probability.distributions import diagonal_normal


class Rows(DataSet):
    """Codes that show the class on 'train' and 'test'; 'valid' has no labels."""

    def load(self, split: str) -> Source:
        y = torch.arange(60 if split == "train" else 30) % 3
        return InMemory(nn.functional.one_hot(y, 3).float(), None if split == "valid" else y)


class Reads(nn.Module):
    """q(z|x) around x, with so much noise that only its mean is useful."""

    def encode(self, x: Tensor) -> Independent:
        return diagonal_normal(x, torch.full_like(x, 100.0))


def test_means_of_codes_are_measured() -> None:
    evaluation = FewLabelsEvaluation(labels_per_class=(1, 2), n_draws=4, floors=())
    evaluation.check(Reads(), Rows())
    entry = evaluation.evaluate(Reads(), Rows())
    assert set(entry.scalars) == {"1_per_class", "2_per_class"} and entry.split == "test"
    scalar = entry.scalars["2_per_class"]
    assert (scalar.value, scalar.unit, scalar.n_samples, scalar.standard_error) == (100.0, "%", 30, 0.0)
    assert "2 labels per class of train" in scalar.estimator and "4 draws" in scalar.estimator


def test_another_layer_has_its_own_names_and_floor() -> None:
    class Layered(Reads):
        """A code without information, and features with all of it."""

        def features(self, x: Tensor) -> Tensor:
            return x

        def encode(self, x: Tensor) -> Independent:
            return super().encode(x[:, :1] * 0 + torch.arange(len(x)).unsqueeze(1))

    evaluation = FewLabelsEvaluation(
        labels_per_class=(2,), n_draws=3, floors=("whitened",), layers=("mean", "features")
    )
    evaluation.check(Layered(), Rows())
    declared, entry = evaluation.declare(Layered(), Rows()), evaluation.evaluate(Layered(), Rows())
    assert set(entry.scalars) == {"2_per_class", "features/2_per_class", "2_per_class/floor/whitened"}
    assert declared.numbers.keys() == entry.scalars.keys()
    features = entry.scalars["features/2_per_class"]
    assert (features.value, features.layer, features.width) == (100.0, "features", 3)
    assert entry.scalars["2_per_class"].value < 80 and entry.scalars["2_per_class"].layer == "mean"
    with pytest.raises(UserError, match=r"needs a model that has features\(\); Reads has none"):
        FewLabelsEvaluation(layers=("features",)).check(Reads(), Rows())
    with pytest.raises(UserError, match="no layer 'feature'"):
        FewLabelsEvaluation(layers=("feature",))


def test_floors_are_reported_and_measured_once() -> None:
    class Learned(Reads):
        """Confuses classes 0 and 1, which untrained weights would not."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 30)
            nn.init.zeros_(self.layer.weight)
            nn.init.ones_(self.layer.weight[:, 2])

        def encode(self, x: Tensor) -> Independent:
            return super().encode(self.layer(x))

    data, model, evaluation = Rows(), Learned(), FewLabelsEvaluation(labels_per_class=(5,), n_draws=2)
    entry = evaluation.evaluate(model, data)
    floors = {f"5_per_class/floor/{name}" for name in ("pixels", "pca", "untrained")}
    assert set(entry.scalars) == {"5_per_class", *floors}
    assert entry.scalars["5_per_class"].value == pytest.approx(200 / 3)
    assert all(entry.scalars[name].value > 80 for name in floors)
    again = evaluation.evaluate(Reads(), data)
    assert all(again.scalars[name] is entry.scalars[name] for name in floors)


def test_the_standard_error_is_of_the_draws() -> None:
    class Guesses(Reads):
        def encode(self, x: Tensor) -> Independent:
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(len(x)))
            return diagonal_normal(x + noise, torch.ones_like(x))

    scalar = FewLabelsEvaluation(n_draws=6, floors=()).evaluate(Guesses(), Rows()).scalars["1_per_class"]
    codes: list[Tensor] = []
    for split in ("train", "test"):
        (batch,) = FewLabelsEvaluation(split).batches(Guesses(), Rows(), None)
        codes += [Guesses().encode(batch["x"]).mean, batch["y"]]
    found = 100 * few_label_probe(codes[0], codes[1], codes[2], codes[3], n_draws=6)
    assert scalar.value == pytest.approx(found.mean().item())
    assert scalar.standard_error == pytest.approx(found.std().item() / 6**0.5) != 0
    # 2.5706 is Student's t for 95 % and 5 degrees of freedom
    error = found.std().item() / 6**0.5
    low, high = (scalar.value + sign * 2.5706 * error for sign in (-1, 1))
    assert scalar.interval == pytest.approx((low, high), abs=1e-3)
    assert scalar.estimator.endswith("[nothing is chosen: test touched once a draw]") and scalar.layer == "mean"
    assert FewLabelsEvaluation(n_draws=1, floors=()).evaluate(Guesses(), Rows()).scalars["1_per_class"].interval is None


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="'valid' has none"):
        FewLabelsEvaluation(train_on="valid").check(Reads(), Rows())
    with pytest.raises(UserError, match="needs 'y' in the data"):
        FewLabelsEvaluation(evaluate_on="valid").check(Reads(), Rows())
    with pytest.raises(UserError, match="needs a model that has encode"):
        FewLabelsEvaluation().check(nn.Linear(2, 2), Rows())
    with pytest.raises(UserError, match="no floor 'pixel': did you mean 'pixels'"):
        FewLabelsEvaluation(floors=["pixel"])
    for wrong in ({"labels_per_class": [1, 0]}, {"n_draws": 0}, {"n_samples": 0}, {"n_train_samples": 0}):
        arguments: dict[str, Any] = wrong
        with pytest.raises(UserError, match=f"{next(iter(wrong))}=0"):
            FewLabelsEvaluation(**arguments)
