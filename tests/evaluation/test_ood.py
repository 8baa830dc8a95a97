"""Out-of-distribution pictures: the scores of a model, how other data are converted, and the record."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import NoNumber, UserError
from frame.data.augment import Noise, Shuffle, Uniform
from frame.data.base import DataSet, Source, whole_batch
from frame.data.digits import Digits
from frame.data.memory import InMemory
from frame.evaluation.changed import Changed, fitted
from frame.evaluation.ood import OODEvaluation
from frame.probability.distributions import Delta


class Halves(DataSet):
    """Pictures whose left half is white; those of `n_channels` and side `side`."""

    def __init__(self, side: int = 8, n_channels: int = 1) -> None:
        super().__init__()
        self.side, self.n_channels = side, n_channels

    def load(self, split: str) -> Source:
        x = torch.zeros(60, self.n_channels, self.side, self.side)
        x[..., : self.side // 2] = 1
        return InMemory(x)


class Vectors(DataSet):
    def load(self, split: str) -> Source:
        return InMemory(torch.rand(20, 5))


class Knows(nn.Module):
    """Predicts how much whiter the left half is; the ELBO is reversed, and the code is the mean of each column."""

    def predict(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        whiter = (x[..., :half] - x[..., half:]).flatten(1).mean(1) + 1e-3 * x.flatten(1)[:, 1]
        return torch.stack([4 * whiter, torch.zeros_like(whiter)], 1).log_softmax(1)

    def log_likelihood_bound(self, x: Tensor) -> dict[str, Tensor]:
        return {"elbo": -self.predict(x)[:, 0]}

    def encode(self, x: Tensor) -> Distribution:
        return Delta(x.mean((1, 2)) + 0.01 * torch.arange(len(x)).unsqueeze(1) / len(x))


class Encodes(nn.Module):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(torch.zeros(len(x), 3))


def test_scores_depend_on_capabilities_and_the_record_names_them() -> None:
    evaluation = OODEvaluation({"noise": Uniform(), "digits": Digits()}, n_neighbours=5)
    evaluation.check(Knows(), Halves())
    entry = evaluation.evaluate(Knows(), Halves())
    entry.check()
    keys = {f"{other}/{score}" for other in ("noise", "digits") for score in ("max_softmax", "elbo", "knn")}
    assert set(entry.scalars) == keys | {f"{key}/fpr95" for key in keys} and entry.split == "test"
    scalars = entry.scalars
    assert scalars["noise/max_softmax"].value == 100 and scalars["noise/max_softmax/fpr95"].value == 0
    assert scalars["noise/elbo"].value == 0 and scalars["noise/elbo/fpr95"].value == 100
    assert scalars["noise/knn"].value == 100
    assert scalars["digits/knn"].layer == "mean" and scalars["digits/knn"].n_samples == 60 + 300
    for words in ("minus the distance to a near training code, the 5th", "60 of test against 300 of digits"):
        assert words in scalars["digits/knn"].estimator
    assert scalars["digits/knn"].unit == scalars["digits/knn/fpr95"].unit == "%"


def test_the_same_pictures_cannot_be_separated() -> None:
    entry = OODEvaluation({"same": Halves()}, scores=["knn"]).evaluate(Knows(), Halves())
    assert entry.scalars["same/knn"].value == pytest.approx(50)


def test_others_become_pictures_of_the_model() -> None:
    wide = fitted(Digits(), Halves(12, 3), "test")
    rows = whole_batch(wide.split("test"), torch.arange(40))
    assert rows["x"].shape == (40, 3, 12, 12)
    assert ((rows["x"] == 0) | (rows["x"] == 1)).all()  # like the run's
    assert torch.equal(rows["x"], whole_batch(wide.split("test"), torch.arange(40))["x"])
    grey = fitted(Digits(), Changed(Halves(16), Noise(0.1)), "test")
    x = whole_batch(grey.split("test"), torch.arange(40))["x"]
    assert x.shape == (40, 1, 16, 16) and ((x > 0.1) & (x < 0.9)).any()
    own = whole_batch(Digits().split("test"), torch.arange(40))["x"]
    # smoothly: the mean and the positions are kept
    torch.testing.assert_close(nn.functional.avg_pool2d(x, 2).mean((1, 2, 3)), own.mean((1, 2, 3)), atol=0.02, rtol=0)
    same = Digits()
    assert fitted(same, Digits(), "test") is same
    shuffled = whole_batch(fitted(Shuffle(), Halves(), "test").split("test"), torch.arange(5))["x"]
    assert (shuffled.sum((1, 2, 3)) == 32).all() and not torch.equal(shuffled[0], shuffled[1])


def test_errors_are_one_line() -> None:
    with pytest.raises(UserError, match="needs a model that has predict, log_likelihood_bound or encode"):
        OODEvaluation({"noise": Uniform()}).check(nn.Linear(2, 2), Halves())
    with pytest.raises(UserError, match="has no score of .'elbo'."):
        OODEvaluation({"noise": Uniform()}, scores=["elbo"]).check(Encodes(), Halves())
    with pytest.raises(UserError, match=r"Vectors has rows \[5\], the model takes \[1, 8, 8\]"):
        OODEvaluation({"vectors": Vectors()}).check(Knows(), Halves())
    with pytest.raises(UserError, match="int is neither a data set"):
        OODEvaluation({"wrong": 3}).check(Knows(), Halves())
    with pytest.raises(NoNumber, match="codes are equal"):
        OODEvaluation({"noise": Uniform()}).evaluate(Encodes(), Halves())
    with pytest.raises(NoNumber, match="NaN"):

        class Broken(Knows):
            def predict(self, x: Tensor) -> Tensor:
                return super().predict(x) * float("nan")

        OODEvaluation({"noise": Uniform()}).evaluate(Broken(), Halves())
    conditional = Knows()
    conditional.inputs = ("x", "y")  # type: ignore[assignment]
    with pytest.raises(UserError, match="gives a model x alone; Knows takes x, y"):
        OODEvaluation({"noise": Uniform()}).check(conditional, Halves())
    wrong: dict[str, Any]
    for wrong in ({"scores": ["softmax"]}, {"n_neighbours": 0}, {"n_samples": 0}, {"n_bank": 0}):
        with pytest.raises(UserError):
            OODEvaluation({"noise": Uniform()}, **wrong)
    with pytest.raises(UserError, match="name one data set"):
        OODEvaluation({})
