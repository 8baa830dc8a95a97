"""frame's methods in scikit-learn: its own checks, and what they do not ask."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import check_estimator
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.sklearn import Representation
from tests.composition.test_session import state

SHORT: dict[str, Any] = {"train_for": "3 iterations", "random_state": 0}
X = np.random.RandomState(0).rand(40, 6) * 100 - 50
Y = np.array(["b", "a"])[(X[:, 0] > 0).astype(int)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("model", ["VAE", "AE", "Classifier"])
def test_scikit_learns_checks(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_estimator(Representation(model, train_for="5 iterations"))
    assert not [*tmp_path.iterdir()]


def test_codes_keep_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    before = state()
    one = Representation(z_dim=3, **SHORT)
    table = pandas.DataFrame(X, columns=[*"abcdef"])
    codes = one.set_output(transform="pandas").fit_transform(table)
    assert list(codes.columns) == ["representation0", "representation1", "representation2"]
    assert one.n_features_in_ == 6 and list(one.feature_names_in_) == [*"abcdef"]
    other = clone(one).set_output(transform="default").fit(X)
    assert np.array_equal(other.transform(X), codes.to_numpy()), "the same seed gives the same bits"
    rows = np.concatenate([other.transform(row[None]) for row in X])
    assert np.abs(rows - codes.to_numpy()).max() < 1e-12, "a row's code does not depend on the rows beside it"
    again = pickle.loads(pickle.dumps(other))
    assert np.array_equal(again.transform(X), other.transform(X))
    after = state()
    assert not [*tmp_path.iterdir()] and capsys.readouterr() == ("", "")
    assert {key for key in before if before[key] != after[key]} == set()


def test_labels_of_any_kind_are_learned() -> None:
    model = Representation("Classifier", z_dim=2, train_for="60 iterations", lr=0.01, random_state=0)
    codes = model.fit(X, Y).transform(X)
    assert list(model.classes_) == ["a", "b"]
    means = np.stack([codes[Y == name].mean(0) for name in model.classes_])
    nearest = ((codes[:, None] - means) ** 2).sum(2).argmin(1)
    assert (model.classes_[nearest] == Y).mean() > 0.9
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.fit(X)


def test_pictures_have_a_shape_and_views() -> None:
    pictures = load_digits().data[:64] / 16
    model = Representation("SimCLR", z_dim=4, shape=(1, 8, 8), layer="features", batch_size=32, **SHORT)
    assert model.fit(pictures).transform(pictures).shape == (64, 256)
    with pytest.raises(ValueError, match="whose product is 64"):
        clone(model).set_params(shape=(1, 9, 8)).fit(pictures)
    with pytest.raises(UserError, match="SimCLR compares views of pictures: give shape="):
        clone(model).set_params(shape=None).fit(pictures)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 2)

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        return (self.linear(batch["x"]) ** 2).mean()

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(x)
        return found


def test_a_module_may_be_the_model() -> None:
    model = Representation(Linear(), layer="features", settings={"params": {"lr": 0.1}}, **SHORT).fit(X)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.transform(X), model.transform(X)) and model.transform(X).shape == (40, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "VEA"}, "no model 'VEA': did you mean 'VAE'?"),
        ({"model": 3}, "model=3 is no torch.nn.Module"),
        ({"layer": "mode"}, "'mode'"),
        ({"settings": {"params.bta": 1}}, "no key 'params.bta'"),
        ({"train_for": "soon"}, "train_for"),
        ({"lr": 1e30, "train_for": "30 iterations"}, "Representation: training failed: "),
    ],
)
def test_errors_are_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        Representation(**{**SHORT, **options}).fit(X)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_without_a_seed_numpys_numbers_decide() -> None:
    weights = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        model = Representation(z_dim=2, train_for="1 iterations").fit(X).model_
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
