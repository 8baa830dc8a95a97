"""FactorVAE: both players' losses by hand, and the permutation that makes latents independent."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

from frame.architectures.base import DiagonalNormal
from frame.architectures.critics import MLPCritic
from frame.common.errors import UserError
from frame.models.base import AdversarialModel, ConditionalDistribution
from frame.models.FactorVAE import FactorVAE, permuted
from frame.models.VAE import VAE
from frame.probability.distributions import diagonal_normal
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def networks() -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    return digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3)


def test_permuting_keeps_each_column_s_values_and_breaks_its_rows() -> None:
    torch.manual_seed(0)
    z = torch.arange(100.0).unsqueeze(1) + 1000 * torch.arange(4.0)  # row i has i in all columns
    apart = permuted(z)
    assert torch.equal(apart.sort(0).values, z)
    rows = apart - 1000 * torch.arange(4.0)
    # a random order keeps 1 of 100 in place, and columns agree no more often than that
    for d in range(4):
        assert (apart[:, d] == z[:, d]).sum() < 8
        assert (rows[:, d] == rows[:, (d + 1) % 4]).sum() < 8


def test_permuting_makes_correlated_latents_independent() -> None:
    torch.manual_seed(0)
    z = torch.randn(20_000, 1) + 0.1 * torch.randn(20_000, 3)
    apart = permuted(z)
    off_diagonal = ~torch.eye(3, dtype=torch.bool)
    assert torch.corrcoef(z.T)[off_diagonal].min() > 0.9
    assert torch.corrcoef(apart.T)[off_diagonal].abs().max() < 5 / math.sqrt(20_000)


def test_without_its_weight_it_is_the_vae() -> None:
    encoder, decoder, prior = networks()
    ours, theirs = FactorVAE(encoder, decoder, prior, MLPCritic(3, [4]), 0.0), VAE(encoder, decoder, prior, 1.0)
    torch.manual_seed(1)
    one = ours(BATCH)
    torch.manual_seed(1)
    two = theirs(BATCH)
    for name in ("loss", "distortion", "rate"):
        torch.testing.assert_close(one[name], two[name])


def test_the_loss_adds_gamma_times_the_log_ratio_of_the_discriminator() -> None:
    """D = sigmoid(d): log D - log(1 - D), written out, on the z that the loss draws."""
    encoder, decoder, prior = networks()
    discriminator = MLPCritic(3, [4])
    torch.manual_seed(1)
    losses = FactorVAE(encoder, decoder, prior, discriminator, 7.0)(BATCH)
    q = encoder(BATCH["x"])
    torch.manual_seed(1)
    z = q.mean + q.stddev * torch.randn_like(q.mean)
    p = discriminator(z).sigmoid()
    ratio = (p.log() - (1 - p).log()).mean()
    torch.testing.assert_close(losses["total_correlation"], ratio)
    torch.testing.assert_close(losses["loss"], losses["distortion"] + losses["rate"] + 7 * ratio)


class FirstLatent(nn.Module):
    """d(z) = z_1 - z_2."""

    def forward(self, z: Tensor) -> Tensor:
        return z[:, 0] - z[:, 1]


def test_the_discriminator_s_loss_by_hand() -> None:
    """-mean(log D(z)) - mean(log(1 - D(z'))), with z' permuted: a loop over rows."""
    encoder, decoder, prior = networks()
    model = FactorVAE(encoder, decoder, prior, FirstLatent(), 1.0)
    assert isinstance(model, AdversarialModel)
    torch.manual_seed(1)
    loss = model.compute_adversarial_loss(BATCH)["loss"]
    with torch.no_grad():
        q = encoder(BATCH["x"])
    torch.manual_seed(1)
    z = q.mean + q.stddev * torch.randn_like(q.mean)
    apart = permuted(q.mean + q.stddev * torch.randn_like(q.mean))
    total = 0.0
    for i in range(6):
        total -= math.log(1 / (1 + math.exp(z[i, 1] - z[i, 0]))) / 6
        total -= math.log(1 - 1 / (1 + math.exp(apart[i, 1] - apart[i, 0]))) / 6
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_a_discriminator_at_chance_has_the_loss_2_log_2_and_no_total_correlation() -> None:
    class Blind(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.zeros(len(z))

    model = FactorVAE(*networks(), Blind(), 1.0)
    assert model.compute_adversarial_loss(BATCH)["loss"].item() == pytest.approx(2 * math.log(2))
    assert model(BATCH)["total_correlation"] == 0


def test_the_best_discriminator_gives_the_total_correlation() -> None:
    """Two latents with correlation 0.8: d(z) = log q(z) - sum_d log q(z_d), whose mean is -1/2 log(1 - 0.64)."""
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    q_z = MultivariateNormal(torch.zeros(2), covariance)

    class Best(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return q_z.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(1)

    class Codes(ConditionalDistribution):
        """Takes pictures as codes, with almost no noise."""

        z_dim = 2

        def forward(self, x: Tensor) -> Independent:
            return diagonal_normal(x, torch.full_like(x, 1e-6))

    class Any2(ConditionalDistribution):
        def forward(self, z: Tensor) -> Independent:
            return diagonal_normal(z, torch.ones_like(z))

    torch.manual_seed(0)
    model = FactorVAE(Codes(), Any2(), DiagonalNormal(2), Best(), 1.0)
    x = q_z.sample((100_000,))
    tc = model({"x": x})["total_correlation"].item()
    assert tc == pytest.approx(-0.5 * math.log(1 - 0.64), abs=0.02)
    # and its loss is below that of a wrong discriminator
    best = model.compute_adversarial_loss({"x": x})["loss"]
    model.adversary = FirstLatent()
    assert best < 2 * math.log(2) < model.compute_adversarial_loss({"x": x})["loss"]


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="gamma=-1"):
        FactorVAE(*networks(), MLPCritic(3, [4]), -1)
    encoder, decoder, _ = networks()
    with pytest.raises(UserError, match="z_dim differs"):
        FactorVAE(encoder, decoder, DiagonalNormal(4), MLPCritic(3, [4]), 1)
