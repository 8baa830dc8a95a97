"""AAE: both players' losses by hand, and their gradients."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import DiagonalNormal
from frame.architectures.critics import MLPCritic
from frame.architectures.priors import MixturePrior
from frame.common.errors import UserError
from frame.models.AAE import AAE
from tests import digits

X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
BATCH = {"x": X}


class Half(nn.Module):
    """D = 1/2 everywhere."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.zeros(len(z))


def small(weight: Any = 2.0, discriminator: nn.Module | None = None, deterministic: bool = True) -> AAE:
    torch.manual_seed(0)
    encoder = digits.Encoder(3, [8], deterministic=deterministic)
    return AAE(encoder, digits.Decoder(3, [8]), DiagonalNormal(3), discriminator or MLPCritic(3, [5]), weight)


def test_the_adversary_minimizes_the_cross_entropy_of_codes_and_samples() -> None:
    """Samples of the prior are labelled 1, codes 0; -label log D - (1 - label) log(1 - D), one row at a time."""
    model = small()
    torch.manual_seed(1)
    losses = model.compute_adversarial_loss(BATCH)
    torch.manual_seed(1)
    w = torch.randn(6, 3)
    z = model.encoder(X).mean
    real = [1 / (1 + math.exp(-d)) for d in model.adversary(w).tolist()]
    fake = [1 / (1 + math.exp(-d)) for d in model.adversary(z).tolist()]
    by_hand = -sum(math.log(p) for p in real) / 6 - sum(math.log(1 - p) for p in fake) / 6
    assert losses["loss"].item() == pytest.approx(by_hand, rel=1e-5)


def test_at_chance_the_losses_are_2_log_2_and_log_2() -> None:
    model = small(discriminator=Half())
    assert model.compute_adversarial_loss(BATCH)["loss"].item() == pytest.approx(2 * math.log(2))
    assert model(BATCH)["generator"].item() == pytest.approx(math.log(2))


def test_the_models_loss_is_distortion_and_weighted_generator() -> None:
    for weight in (0.0, 3.0):
        model = small(weight)
        losses = model(BATCH)
        z = model.encoder(X).mean
        distortion = -model.decoder(z).log_prob(X).mean()
        generator = -model.adversary(z).sigmoid().log().mean()
        torch.testing.assert_close(losses["distortion"], distortion)
        torch.testing.assert_close(losses["loss"], distortion + weight * generator)


def test_the_generator_moves_codes_to_where_the_adversary_sees_the_prior() -> None:
    """D rises with z_0, so that a step down the generator's loss raises the codes' first number."""
    critic = MLPCritic(3, [])
    with torch.no_grad():
        critic.linear.weight.copy_(torch.tensor([[5.0, 0.0, 0.0]]))
    model = small(1e6, critic)  # only the generator's loss
    parameters = list(model.encoder.parameters())
    before = model.encoder(X).mean[:, 0].mean().item()
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(model(BATCH)["loss"], parameters, allow_unused=True), strict=True
    ):
        parameter.data -= 1e-8 * gradient
    assert model.encoder(X).mean[:, 0].mean().item() > before


def test_codes_may_be_sampled_and_the_prior_a_mixture() -> None:
    model = small(deterministic=False)
    assert not torch.equal(model(BATCH)["loss"], model(BATCH)["loss"])
    assert model.log_likelihood_bound(X)["elbo"].shape == (6,)
    mixture = AAE(model.encoder, model.decoder, MixturePrior(3, 4), model.adversary, 1.0)
    assert mixture.compute_adversarial_loss(BATCH)["loss"].isfinite()
    assert mixture.sample(5).shape == (5, 1, 8, 8)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="weight=-1: it must be at least 0"):
        small(-1)
