"""Two layers of latents: the bound in a loop, its limits, and a linear-Gaussian chain with a known likelihood."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from frame.architectures.base import DiagonalNormal
from frame.architectures.latents import GaussianMLP
from frame.common.errors import UserError
from frame.evaluation.base import BoundsLikelihood, Decodes, Encodes, Reconstructs, Samples, WeighsSamples
from frame.models.base import ConditionalDistribution
from frame.models.HierarchicalVAE import HierarchicalVAE
from frame.models.VAE import VAE
from frame.probability.distributions import diagonal_normal
from tests import digits

S1, S = 0.6, 0.5  # scales of p(z1|z2) and p(x|z1)
A, W = torch.tensor([1.5, -0.5]), torch.tensor([2.0, 1.0])  # their weights, one for each latent


class Affine(ConditionalDistribution):
    """N(weight * v + shift, scale^2), one v for each latent."""

    def __init__(self, weight: Tensor, scale: Tensor, shift: float = 0.0) -> None:
        super().__init__()
        self.weight, self.scale, self.shift = weight, scale, shift

    def forward(self, v: Tensor) -> Independent:
        loc = self.weight * v + self.shift
        return diagonal_normal(loc, self.scale.expand_as(loc))


def chain(shift: float = 0.0, shift_2: float = 0.0, beta: float = 1.0) -> HierarchicalVAE:
    """p(z2) = N(0, 1), p(z1|z2) = N(A z2, S1^2), p(x|z1) = N(W z1, S^2), with the true posteriors, or shifted ones.

    z1 has the variance v = A^2 + S1^2. q(z1|x): precision 1/v + W^2/S^2, mean W x / S^2 over it; so has q(z2|z1).
    """
    precision_1 = 1 / (A**2 + S1**2) + W**2 / S**2
    precision_2 = 1 + A**2 / S1**2
    return HierarchicalVAE(
        Affine(W / S**2 / precision_1, precision_1.rsqrt(), shift),
        Affine(A / S1**2 / precision_2, precision_2.rsqrt(), shift_2),
        Affine(A, torch.tensor([S1, S1])),
        Affine(W, torch.tensor([S, S])),
        DiagonalNormal(2),
        beta,
    )


def log_p(x: Tensor) -> Tensor:
    """The marginal: x = W (A z2 + S1 e1) + S e."""
    return Normal(0.0, (W**2 * (A**2 + S1**2) + S**2).sqrt()).log_prob(x).sum(-1)


def small(beta: float = 1.0) -> HierarchicalVAE:
    torch.manual_seed(0)
    encoder, decoder = digits.Encoder(3, [8]), digits.Decoder(3, [8])
    return HierarchicalVAE(encoder, GaussianMLP(3, 2, [6]), GaussianMLP(2, 3, [6]), decoder, DiagonalNormal(2), beta)


def test_weights_are_the_likelihood_at_the_true_posteriors() -> None:
    """p(x, z1, z2) / (p(z1|x) p(z2|z1)) = p(x) for every z1 and z2."""
    torch.manual_seed(0)
    x = torch.randn(3, 2)
    weights = chain().log_weights(x, n_samples=5)
    torch.testing.assert_close(weights, log_p(x).expand(5, 3))


def test_bound_is_the_likelihood_at_the_true_posteriors_and_below_it_elsewhere() -> None:
    """Shifts d1 and d2 of the posteriors' means cost d^2 / (2 variance) each, as both are Gaussian."""
    torch.manual_seed(0)
    x = torch.randn(2, 2)
    for d1, d2 in ((0.0, 0.0), (0.3, 0.0), (0.0, 0.4)):
        model = chain(d1, d2)
        bounds = model.log_likelihood_bound(x.repeat(20000, 1))["elbo"].view(20000, 2)
        cost = (d1**2 * (1 / (A**2 + S1**2) + W**2 / S**2) / 2 + d2**2 * (1 + A**2 / S1**2) / 2).sum()
        standard_error = bounds.std(0) / 20000**0.5
        assert ((bounds.mean(0) - log_p(x) + cost).abs() < 4 * standard_error).all(), (d1, d2)
        weights = model.log_weights(x, n_samples=20000)
        assert ((weights.mean(0) - log_p(x) + cost).abs() < 4 * weights.std(0) / 20000**0.5 + 1e-4).all(), (d1, d2)


def normal(value: float, loc: float, scale: float) -> float:
    return -0.5 * ((value - loc) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)


def test_bound_in_a_loop() -> None:
    """One picture and one latent at a time, on the same noise; KL of Gaussians: -log s + (s^2 + mu^2)/2 - 1/2."""
    model, x = small(0.3), torch.rand(4, 1, 8, 8)
    torch.manual_seed(1)
    found = model.log_likelihood_bound(x)
    torch.manual_seed(1)
    eps_1, eps_2 = torch.randn(4, 3), torch.randn(4, 2)
    with torch.no_grad():
        for b in range(4):
            q1 = model.encoder(x[b : b + 1])
            z1 = q1.mean + q1.stddev * eps_1[b]
            q2 = model.encoder_2(z1)
            z2 = q2.mean + q2.stddev * eps_2[b]
            p1 = model.decoder_2(z2)
            rate_1 = rate_2 = 0.0
            for d in range(3):
                z = float(z1[0, d])
                rate_1 += normal(z, float(q1.mean[0, d]), float(q1.stddev[0, d]))
                rate_1 -= normal(z, float(p1.mean[0, d]), float(p1.stddev[0, d]))
            for d in range(2):
                mu, s = float(q2.mean[0, d]), float(q2.stddev[0, d])
                rate_2 += -math.log(s) + (s**2 + mu**2) / 2 - 0.5
            log_p_x = sum(model.decoder(z1).base_dist.log_prob(x[b]).flatten().tolist())
            assert float(found["rate_1"][b]) == pytest.approx(rate_1, abs=1e-4)
            assert float(found["rate_2"][b]) == pytest.approx(rate_2, abs=1e-4)
            assert float(found["distortion"][b]) == pytest.approx(-log_p_x, rel=1e-4)
            assert float(found["elbo"][b]) == pytest.approx(log_p_x - rate_1 - rate_2, rel=1e-4)
    torch.manual_seed(1)
    losses = model({"x": x})
    for key in ("distortion", "rate", "rate_1", "rate_2"):
        torch.testing.assert_close(losses[key], found[key].mean())
    torch.testing.assert_close(losses["loss"], losses["distortion"] + 0.3 * (losses["rate_1"] + losses["rate_2"]))


class Standard(ConditionalDistribution):
    """N(0, I) over `z_dim` latents, whatever is given."""

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim = z_dim

    def forward(self, v: Tensor) -> Distribution:
        zeros = torch.zeros(*v.shape[:-1], self.z_dim)
        return diagonal_normal(zeros, torch.ones_like(zeros))


def test_an_uninformative_second_layer_is_the_plain_vae() -> None:
    torch.manual_seed(0)
    encoder, decoder, x = digits.Encoder(3, [8]), digits.Decoder(3, [8]), torch.rand(6, 1, 8, 8)
    both = HierarchicalVAE(encoder, Standard(2), Standard(3), decoder, DiagonalNormal(2), 1.0)
    plain = VAE(encoder, decoder, DiagonalNormal(3), 1.0)
    torch.manual_seed(1)
    bound = both.log_likelihood_bound(x)
    torch.manual_seed(1)
    torch.testing.assert_close(bound["elbo"], plain.log_weights(x, n_samples=1)[0])  # the KL is sampled in both
    torch.testing.assert_close(bound["rate_2"], torch.zeros(6))
    torch.manual_seed(1)
    weights = both.log_weights(x, n_samples=7)
    torch.manual_seed(1)
    torch.testing.assert_close(weights, plain.log_weights(x, n_samples=7))


def test_capabilities_are_of_the_first_layer() -> None:
    model, x = small(), torch.rand(4, 1, 8, 8)
    for capability in (Encodes, Decodes, Reconstructs, Samples, BoundsLikelihood, WeighsSamples):
        assert isinstance(model, capability)
    assert model.encode(x).event_shape == (3,) and model.features(x).shape == (4, 8)
    torch.testing.assert_close(model.reconstruct(x), model.decoder(model.encoder(x).mean).mean)
    assert model.sample(5).shape == (5, 1, 8, 8)


def test_samples_come_from_the_chain() -> None:
    """x = W (A z2 + S1 e1) + S e; means of p(x|z1) lack the last term."""
    torch.manual_seed(0)
    drawn = chain().sample(50000, sample_images=True)
    means = chain().sample(50000)
    torch.testing.assert_close(drawn.var(0), W**2 * (A**2 + S1**2) + S**2, rtol=0.05, atol=0)
    torch.testing.assert_close(means.var(0), W**2 * (A**2 + S1**2), rtol=0.05, atol=0)


def test_the_prior_is_that_of_the_encoded_layer() -> None:
    """With 2 latents in the first layer and 1 in the second, q(z1|x) is compared with p(z1) and not with p(z2)."""
    torch.manual_seed(0)
    model = HierarchicalVAE(
        digits.Encoder(2, [4]),
        GaussianMLP(2, 1, [4]),
        GaussianMLP(1, 2, [4]),
        digits.Decoder(2, [4]),
        DiagonalNormal(1),
        1.0,
    )
    z1 = model.sample_prior(7)
    assert z1.shape == (7, 2) == model.encode(torch.rand(7, 1, 8, 8)).mean.shape
    torch.manual_seed(1)
    pictures = model.sample(7)
    torch.manual_seed(1)
    torch.testing.assert_close(pictures, model.decode(model.sample_prior(7)).mean)


def test_errors_are_named() -> None:
    encoder, decoder = digits.Encoder(3, []), digits.Decoder(3, [])
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 3, decoder_2 4, decoder 3\)"):
        HierarchicalVAE(encoder, GaussianMLP(3, 2, []), GaussianMLP(2, 4, []), decoder, DiagonalNormal(2), 1)
    with pytest.raises(UserError, match=r"z_dim differs \(encoder_2 2, prior 3\)"):
        HierarchicalVAE(encoder, GaussianMLP(3, 2, []), GaussianMLP(2, 3, []), decoder, DiagonalNormal(3), 1)
    with pytest.raises(UserError, match="beta=-1"):
        small(-1)
    with pytest.raises(UserError, match="n_in=0"):
        GaussianMLP(0, 2, [])
