"""VAE: the KL's closed form, and the ELBO of a linear-Gaussian model against its exact likelihood."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace, LowRankMultivariateNormal, Normal

from frame.architectures.base import DiagonalNormal
from frame.common.errors import UserError
from frame.evaluation.base import BoundsLikelihood, Decodes, Encodes, Reconstructs, Samples
from frame.models.base import ConditionalDistribution
from frame.models.VAE import VAE
from frame.probability.distributions import diagonal_normal, rsample
from frame.probability.divergences import kl_divergence
from tests import digits


class LinearDecoder(ConditionalDistribution):
    """p(x|z) = N(W z, 0.5^2 I), W with orthogonal columns, so that the posterior is diagonal."""

    W = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])  # [4, 2]

    def forward(self, z: Tensor) -> Independent:
        return diagonal_normal(z @ self.W.T, torch.full((len(z), 4), 0.5))


class TruePosterior(ConditionalDistribution):
    """p(z|x) of LinearDecoder: precision I + W'W / 0.25, mean = covariance W'x / 0.25. `shift` makes it wrong."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor) -> Independent:
        W = LinearDecoder.W
        variance = 1 / (1 + (W**2).sum(0) / 0.25)
        mean = variance * (x @ W) / 0.25
        return diagonal_normal(mean + self.shift, variance.sqrt().expand_as(mean))


def log_p(x: Tensor) -> Tensor:
    """The marginal N(0, W W' + 0.25 I)."""
    return LowRankMultivariateNormal(torch.zeros(4), LinearDecoder.W, torch.full((4,), 0.25)).log_prob(x)


def linear_vae(shift: float = 0.0, beta: float = 1.0) -> VAE:
    return VAE(TruePosterior(shift), LinearDecoder(), DiagonalNormal(2), beta)


def small_vae(beta: float = 1.0) -> VAE:
    torch.manual_seed(0)
    return VAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3), beta)


def test_kl_is_the_closed_form() -> None:
    """KL(N(mu, s^2) || N(0, 1)) = sum over i of (mu^2 + s^2 - 1)/2 - log s."""
    torch.manual_seed(0)
    mu, s = torch.randn(5, 3), torch.rand(5, 3) + 0.1
    kl = kl_divergence(diagonal_normal(mu, s), DiagonalNormal(3)(), mu)
    torch.testing.assert_close(kl, ((mu**2 + s**2 - 1) / 2 - s.log()).sum(1))


def test_sampled_kl_agrees_with_the_analytic_one() -> None:
    """The same q as a Gaussian (analytic) and as a class that is not recognized as one (sampled)."""

    torch.manual_seed(0)
    mu, s = torch.tensor([0.5, -1.0]), torch.tensor([0.3, 2.0])
    q, p = diagonal_normal(mu, s), DiagonalNormal(2)()
    unrecognised = Independent(torch.distributions.TransformedDistribution(Normal(mu, s), []), 1)
    z = rsample(q.expand((200000,)))
    analytic = kl_divergence(q, p, z)
    sampled = kl_divergence(unrecognised, p, z)
    assert analytic.shape == () and sampled.shape == (200000,)
    standard_error = sampled.std() / 200000**0.5
    assert (sampled.mean() - analytic).abs() < 4 * standard_error
    assert sampled.std() > 0.1  # it is sampled


def test_elbo_is_tight_at_the_true_posterior() -> None:
    """log p(x|z) + log p(z) - log p(z|x) = log p(x) for every z; the analytic KL leaves noise of mean 0."""
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    bounds = linear_vae().log_likelihood_bound(x.repeat(4000, 1))["elbo"].view(4000, 3)
    standard_error = bounds.std(0) / 4000**0.5
    assert ((bounds.mean(0) - log_p(x)).abs() < 4 * standard_error).all()


def test_elbo_lies_below_by_the_kl_to_the_true_posterior() -> None:
    """Posterior means shifted by d: log p(x) - ELBO = sum of d^2 / (2 variance)."""
    torch.manual_seed(0)
    x, d = torch.randn(3, 4), 0.4
    bounds = linear_vae(d).log_likelihood_bound(x.repeat(4000, 1))["elbo"].view(4000, 3)
    gap = (d**2 / (2 * torch.tensor([1 / 9, 1 / 17]))).sum()  # precisions 1 + 2/0.25 and 1 + 4/0.25
    standard_error = bounds.std(0) / 4000**0.5
    assert ((log_p(x) - bounds.mean(0) - gap).abs() < 4 * standard_error).all()


def test_loss_is_distortion_plus_beta_times_rate_and_the_bound_ignores_beta() -> None:
    x = torch.rand(6, 1, 8, 8)
    for beta in (0.0, 0.3, 1.0):
        model = small_vae(beta)
        torch.manual_seed(1)
        losses = model({"x": x})
        torch.testing.assert_close(losses["loss"], losses["distortion"] + beta * losses["rate"])
        torch.manual_seed(1)
        bound = model.log_likelihood_bound(x)
        torch.testing.assert_close(bound["elbo"].mean(), -losses["distortion"] - losses["rate"])
        if beta == 1:
            torch.testing.assert_close(losses["loss"], -bound["elbo"].mean())


def test_it_has_the_capabilities_of_a_generative_model() -> None:
    model, x = small_vae(), torch.rand(4, 1, 8, 8)
    for capability in (Encodes, Decodes, Reconstructs, Samples, BoundsLikelihood):
        assert isinstance(model, capability)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encode(x).mean).mean)
    noisy = model.reconstruct(x, sample_latents=True)
    assert not torch.equal(noisy, model.reconstruct(x))
    drawn = model.sample(5, sample_images=True)
    assert drawn.shape == (5, 1, 8, 8)
    torch.testing.assert_close((drawn * 16).round() / 16, drawn)  # one of the 17 levels
    assert model.sample(5).min() >= 0 and model.sample(5).max() <= 1


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="beta=-0.1: it must be at least 0"):
        small_vae(-0.1)
    with pytest.raises(UserError, match="beta=nan"):
        small_vae(float("nan"))
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 3, decoder 4, prior 3\)"):
        VAE(digits.Encoder(3, [8]), digits.Decoder(4, [8]), DiagonalNormal(3), 1.0)


def test_rsample_of_what_is_not_gaussian_is_its_own() -> None:
    scale = nn.Parameter(torch.ones(3))
    rsample(Laplace(torch.zeros(3), scale)).sum().backward()
    assert scale.grad is not None


def test_below_the_free_bits_the_rate_costs_a_constant_and_above_it_nothing_changes() -> None:
    batch = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}
    gradients = {}
    for free_bits in (None, 1e-3, 1e3):
        torch.manual_seed(0)
        vae = VAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3), 2.0, free_bits)
        torch.manual_seed(1)
        losses = vae(batch)
        paid = max(losses["rate"].item(), free_bits or 0.0)
        assert losses["loss"].item() == pytest.approx(losses["distortion"].item() + 2 * paid, rel=1e-5)
        losses["loss"].backward()
        gradients[free_bits] = vae.encoder.head.linear.bias.grad.clone()  # type: ignore[union-attr, operator]
    torch.testing.assert_close(gradients[None], gradients[1e-3])
    torch.manual_seed(0)
    vae = VAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3), 0.0)
    torch.manual_seed(1)
    vae(batch)["loss"].backward()
    torch.testing.assert_close(gradients[1e3], vae.encoder.head.linear.bias.grad)  # type: ignore[union-attr]
