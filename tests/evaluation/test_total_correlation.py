"""Total correlation of codes with a known covariance."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent

from frame.common.errors import NoNumber, TooFew, UserError
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory
from frame.evaluation.base import LogEntry, evaluating
from frame.evaluation.total_correlation import TotalCorrelationEvaluation
from frame.probability.distributions import diagonal_normal


class Codes(DataSet):
    """Rows that are codes: two dimensions with correlation 0.9."""

    def load(self, split: str) -> Source:
        z = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
        return InMemory(z @ torch.tensor([[1.0, 0.9], [0.0, math.sqrt(1 - 0.81)]]))


class Noisy(nn.Module):
    """q(z|x) = N(x, 1)."""

    def encode(self, x: Tensor) -> Independent:
        return diagonal_normal(x, torch.ones_like(x))


def run(model: Any, n_samples: int | None = None) -> LogEntry:
    evaluation = TotalCorrelationEvaluation("valid", n_samples)
    evaluation.check(model, Codes())
    with evaluating(model):
        return evaluation.evaluate(model, Codes())


def test_means_and_samples_are_two_numbers() -> None:
    """Means have correlation 0.9; unit noise on each makes it 0.45. TC = -1/2 log(1 - r^2)."""
    scalars = run(Noisy()).scalars
    assert set(scalars) == {"sampled", "mean"}
    for key, r in (("mean", 0.9), ("sampled", 0.45)):
        found = scalars[key]
        assert found.standard_error is not None
        assert found.value == pytest.approx(-0.5 * math.log(1 - r * r), abs=5 * found.standard_error)
        assert found.unit == "nats" and found.n_samples == 4000 and "full covariance" in found.estimator
    assert run(Noisy(), 100).scalars["mean"].n_samples == 100
    assert run(Noisy()).scalars["sampled"].value == scalars["sampled"].value


def test_codes_without_a_covariance_give_no_number() -> None:
    class Collapsed(Noisy):
        def encode(self, x: Tensor) -> Independent:
            return diagonal_normal(x * torch.tensor([1.0, 0.0]), torch.ones_like(x))

    with pytest.raises(NoNumber, match="dimension 1 of the codes is constant"):
        run(Collapsed())
    with pytest.raises(TooFew, match="2 codes of 2 dimensions"):
        run(Noisy(), 2)


def test_errors() -> None:
    with pytest.raises(UserError, match="n_samples=0"):
        TotalCorrelationEvaluation(n_samples=0)
    with pytest.raises(UserError, match="needs a model that has encode"):
        TotalCorrelationEvaluation().check(nn.Identity(), Codes())
