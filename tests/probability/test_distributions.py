"""Distributions over levels: probabilities sum to 1, moments are exact, samples follow them."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal

from frame.architectures import base
from frame.common.errors import UserError
from frame.probability.distributions import (
    CategoricalLevels,
    DiscretisedLogistic,
    FlatBernoulli,
    IndependentBernoulli,
    independent,
    negative_log_prob,
)

LOCATIONS = torch.tensor([-0.4, 0.0, 0.31, 0.5, 1.0, 1.7])


def levels_of(distribution: Distribution, levels: int) -> torch.Tensor:
    """P(level) for each element: [levels, n]."""
    values = torch.linspace(0, 1, levels).unsqueeze(1).expand(levels, distribution.batch_shape[0])
    return torch.stack([distribution.log_prob(value) for value in values]).double().exp()


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.5, 20.0])
def test_discretised_logistic_sums_to_one(levels: int, scale: float) -> None:
    distribution = DiscretisedLogistic(LOCATIONS, torch.full((6,), scale), levels)
    torch.testing.assert_close(levels_of(distribution, levels).sum(0), torch.ones(6).double(), rtol=0, atol=2e-5)


def test_discretised_logistic_is_a_difference_of_sigmoids() -> None:
    """Level 100 of 255 at loc 0.4, scale 0.05: s((100.5/255 - 0.4)/0.05) - s((99.5/255 - 0.4)/0.05)."""
    distribution = DiscretisedLogistic(torch.tensor([0.4]), torch.tensor([0.05]))

    def sigmoid(u: float) -> float:
        return 1 / (1 + math.exp(-u))

    by_hand = sigmoid((100.5 / 255 - 0.4) / 0.05) - sigmoid((99.5 / 255 - 0.4) / 0.05)
    assert distribution.log_prob(torch.tensor([100 / 255])).item() == pytest.approx(math.log(by_hand), rel=1e-5)
    open_end = 1 - sigmoid((254.5 / 255 - 0.4) / 0.05)
    assert distribution.log_prob(torch.tensor([1.0])).item() == pytest.approx(math.log(open_end), rel=1e-4)


def test_discretised_logistic_has_finite_gradients_far_away() -> None:
    loc = torch.tensor([-3.0, 0.5, 4.0], requires_grad=True)
    scale = torch.tensor([4e-4, 4e-4, 4e-4], requires_grad=True)
    DiscretisedLogistic(loc, scale).log_prob(torch.tensor([1.0, 0.0, 0.5])).sum().backward()
    assert loc.grad is not None and scale.grad is not None
    assert loc.grad.isfinite().all() and scale.grad.isfinite().all() and (loc.grad != 0).all()


@pytest.mark.parametrize(
    "distribution",
    [
        DiscretisedLogistic(LOCATIONS, torch.full((6,), 0.2), 17),
        CategoricalLevels(torch.randn(6, 17, generator=torch.Generator().manual_seed(0))),
    ],
)
def test_mean_and_samples_follow_the_probabilities(distribution: Distribution) -> None:
    torch.manual_seed(0)
    probabilities = levels_of(distribution, 17)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(6).double(), rtol=0, atol=1e-5)
    values = torch.linspace(0, 1, 17).double()
    torch.testing.assert_close(distribution.mean.double(), values @ probabilities, rtol=0, atol=1e-5)
    drawn = (distribution.sample(torch.Size((20000,))) * 16).round().long()  # [20000, 6]
    frequencies = torch.nn.functional.one_hot(drawn, 17).double().mean(0).T
    assert (frequencies - probabilities).abs().max() < 0.015  # 4 standard errors of a fraction of 20,000


@pytest.mark.parametrize(
    "head",
    [
        base.BernoulliPicture(),
        base.NormalPicture(0.1),
        base.CategoricalPicture(5),
        base.DiscretisedLogisticPicture(17),
    ],
)
def test_picture_distributions_have_the_documented_shapes(head: base.PictureDistribution) -> None:
    numbers = torch.randn(4, head.n_parameters, 3, 2, 2)
    p = head(numbers)
    assert p.batch_shape == (4,) and p.event_shape == (3, 2, 2)
    assert p.mean.shape == p.sample().shape == (4, 3, 2, 2)
    assert p.log_prob(torch.rand(4, 3, 2, 2)).shape == (4,)
    half = head(numbers.bfloat16())
    assert half.mean.dtype == torch.float32  # under autocast too


def test_values_out_of_range_are_named() -> None:
    with pytest.raises(UserError, match="z_dim=0: it must be at least 1"):
        base.DiagonalNormal(0)
    with pytest.raises(UserError, match="scale=0"):
        base.NormalPicture(0.0)
    with pytest.raises(UserError, match="levels=1: it must be at least 2"):
        base.CategoricalPicture(1)


@pytest.mark.parametrize("n_dims", [0, 1, 3])
@pytest.mark.parametrize(
    "values", [Bernoulli(logits=3 * torch.randn(5, 1, 4, 4)), Normal(torch.randn(5, 1, 4, 4), 0.3)]
)
def test_events_have_the_log_prob_of_torchs_classes_and_its_gradient(values: Distribution, n_dims: int) -> None:
    made, torchs = independent(values, n_dims), Independent(values, n_dims)
    assert type(made) is not Independent and made.batch_shape == torchs.batch_shape
    parameter = values.logits if isinstance(values, Bernoulli) else values.loc  # type: ignore[attr-defined]
    parameter.requires_grad_()
    for expanded in (made, made.expand((2, *made.batch_shape))):
        x = torch.rand(5, 1, 4, 4).round() if isinstance(values, Bernoulli) else torch.randn(5, 1, 4, 4)
        found, expected = expanded.log_prob(x), torchs.log_prob(x).expand(expanded.batch_shape)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
        (mine,), (theirs,) = (torch.autograd.grad(one.sum(), parameter) for one in (found, expected))
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert torch.equal(made.mean, torchs.mean) and torch.equal(made.variance, torchs.variance)


def test_other_distributions_stay_torchs() -> None:
    assert type(independent(Categorical(logits=torch.zeros(3, 2)), 1)) is Independent


def test_flat_logits_give_the_same_distribution() -> None:
    logits = torch.randn(5, 16, requires_grad=True)
    flat = FlatBernoulli(logits, torch.Size((1, 4, 4)))
    shaped = IndependentBernoulli(Bernoulli(logits=logits.view(5, 1, 4, 4)), 3)
    assert (flat.batch_shape, flat.event_shape) == (shaped.batch_shape, shaped.event_shape)
    x = torch.rand(5, 1, 4, 4)
    for ours, theirs in ((flat, shaped), (flat.expand((3, 5)), shaped.expand(torch.Size((3, 5))))):
        for value in (x, x[:1], torch.rand(*ours.batch_shape, 1, 4, 4)):
            found, expected = ours.log_prob(value), theirs.log_prob(value)
            torch.testing.assert_close(found, expected)
            torch.testing.assert_close(negative_log_prob(ours, value), -expected)
            (mine,), (other,) = (torch.autograd.grad(one.sum(), logits) for one in (found, expected))
            torch.testing.assert_close(mine, other)
        assert torch.equal(ours.mean, theirs.mean) and torch.equal(ours.variance, theirs.variance)
        torch.manual_seed(0)
        sample = ours.sample((2,))
        torch.manual_seed(0)
        assert torch.equal(sample, theirs.sample((2,)))


def test_a_subclass_of_bernoulli_pictures_keeps_its_own_values() -> None:
    class Sharp(base.BernoulliPicture):
        def values(self, numbers: Tensor) -> Bernoulli:
            return Bernoulli(logits=10 * numbers.squeeze(1), validate_args=False)

    z, x = torch.randn(3, 2), torch.rand(3, 1, 2, 2)
    decoder = base.MLPDecoder((1, 2, 2), 2, [], distribution=Sharp())
    by_hand = (
        -Bernoulli(logits=10 * decoder.linear(z).view(3, 1, 2, 2), validate_args=False).log_prob(x).flatten(1).sum(1)
    )
    torch.testing.assert_close(-decoder(z).log_prob(x), by_hand)
