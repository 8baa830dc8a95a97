"""The sampled bound and active units: correct numbers, from small chunks, on the same pictures each time."""

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent

from frame.common.errors import UserError
from frame.data.base import Batch, DataSet, Source
from frame.evaluation.active_units import ActiveUnitsEvaluation
from frame.evaluation.base import Evaluation, LogEntry, evaluating
from frame.evaluation.likelihood import ROWS, IWAEBoundEvaluation
from frame.probability.distributions import diagonal_normal
from tests.models.test_VAE import linear_vae, log_p


class Rows:
    """Gaussian rows [64, 4], float and without noise of their own."""

    def __init__(self) -> None:
        self.x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return 64

    def batch(self, indices: Tensor) -> Batch:
        return {"x": self.x[indices], "y": indices % 10, "index": indices}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


class Toy(DataSet):
    def load(self, split: str) -> Source:
        return Rows()


class Ramp(nn.Module):
    """Log-weights log(1), log(2), ... log(S) + x_0 + y, over any number of calls."""

    inputs = ("x", "y")

    def __init__(self) -> None:
        super().__init__()
        self.given = 0
        self.calls: list[tuple[int, int]] = []

    def log_weights(self, x: Tensor, y: Tensor, n_samples: int) -> Tensor:
        if self.given == S:
            self.given = 0
        ramp = torch.arange(self.given + 1, self.given + n_samples + 1).log()
        self.given += n_samples
        self.calls.append((n_samples, len(x)))
        return ramp.unsqueeze(1) + x[:, 0] + y


S = 2 * ROWS + 5


def run(evaluation: Evaluation, model: nn.Module) -> LogEntry:
    evaluation.check(deepcopy(model), Toy())
    with evaluating(model):
        return evaluation.evaluate(model, Toy())


def test_bound_is_the_log_of_the_mean_of_all_weights_from_small_chunks() -> None:
    """1/S sum of 1 ... S is (S + 1) / 2."""
    model = Ramp()
    scalar = run(IWAEBoundEvaluation("valid", 20, S), model).scalars[""]
    (batch,) = IWAEBoundEvaluation("valid").batches(model, Toy(), 20)
    rest = batch["x"][:, 0] + batch["y"]
    assert scalar.value == pytest.approx(math.log((S + 1) / 2) + rest.mean().item(), abs=1e-4)
    assert scalar.standard_error == pytest.approx((rest.std() / 20**0.5).item(), rel=1e-4)
    assert scalar.n_samples == 20 and scalar.unit == "nats per row" and f"{S} importance" in scalar.estimator
    assert model.calls == [(ROWS, 1), (ROWS, 1), (5, 1)] * 20


def test_few_samples_take_many_pictures_at_once() -> None:
    model = linear_vae(shift=0.3)
    seen: list[tuple[int, ...]] = []
    model.decoder.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    with evaluating(model):
        IWAEBoundEvaluation("valid", None, 100).evaluate(model, Toy())
    # 64 pictures, ten at a time; one more row shows what kind of p(x|z) it is
    assert seen == [(1000, 2)] * 6 + [(400, 2), (1, 2)]


def test_bound_of_a_linear_model_is_its_likelihood() -> None:
    value = run(IWAEBoundEvaluation("valid", None, 3000), linear_vae(shift=0.1)).scalars[""]
    exact = log_p(Rows().x)
    assert value.value == pytest.approx(exact.mean().item(), abs=0.01)
    assert value.standard_error == pytest.approx((exact.std() / 8).item(), rel=0.01)
    elbo = run(IWAEBoundEvaluation("valid", None, 1), linear_vae(shift=0.3)).scalars[""].value
    assert elbo < exact.mean().item() - 0.5  # r^2/2 = 1.17 below


class Posterior(nn.Module):
    """Means that follow x by 2, by 0.05, and not at all: variances of about 4, 0.0025 and 0."""

    def encode(self, x: Tensor) -> Independent:
        mean = torch.stack([2 * x[:, 0], 7 + 0.05 * x[:, 1], torch.full((len(x),), 3.0)], 1)
        return diagonal_normal(mean, torch.ones_like(mean))


def test_active_units_follow_the_picture() -> None:
    count = run(ActiveUnitsEvaluation("valid"), Posterior()).scalars[""]
    assert count.value == 1 and count.n_samples == 64
    assert "of 3 latents" in count.estimator


def test_a_model_without_the_capability_is_refused() -> None:
    with pytest.raises(UserError, match=r"IWAEBoundEvaluation needs a model that has log_weights\(\); Posterior"):
        IWAEBoundEvaluation().check(Posterior(), Toy())
    with pytest.raises(UserError, match=r"ActiveUnitsEvaluation needs a model that has encode\(\); Ramp"):
        ActiveUnitsEvaluation().check(Ramp(), Toy())


def test_numbers_out_of_range_are_named() -> None:
    with pytest.raises(UserError, match="n_posterior_samples=0"):
        IWAEBoundEvaluation("valid", 10, 0)
    with pytest.raises(UserError, match="n_samples=0"):
        IWAEBoundEvaluation("valid", 0)
    with pytest.raises(UserError, match="n_samples=0"):
        ActiveUnitsEvaluation("valid", 0)
