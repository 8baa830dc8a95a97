"""InfoVAE: the limits in which it is the VAE and WAE-MMD."""

from functools import partial
from typing import Any

import pytest
import torch

from frame.architectures.base import DiagonalNormal
from frame.architectures.priors import MixturePrior
from frame.common.errors import UserError
from frame.common.schedules import Linear
from frame.models.InfoVAE import InfoVAE
from frame.models.VAE import VAE
from frame.probability.distributions import rsample
from frame.probability.divergences import imq, mmd, rbf
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def small(alpha: Any, lambda_: Any, **options: Any) -> InfoVAE:
    torch.manual_seed(0)
    return InfoVAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3), alpha, lambda_, **options)


def test_alpha_0_and_lambda_1_is_the_vae() -> None:
    model = small(0.0, 1.0)
    vae = VAE(model.encoder, model.decoder, model.prior, beta=1.0)
    torch.manual_seed(1)
    ours = model(BATCH)["loss"]
    torch.manual_seed(1)
    torch.testing.assert_close(ours, vae(BATCH)["loss"])


def test_alpha_1_is_the_wasserstein_autoencoder() -> None:
    """Written out: -log p(x|z) + lambda MMD(z, prior), without the KL."""
    model = small(1.0, 10.0)
    torch.manual_seed(1)
    losses = model(BATCH)
    torch.manual_seed(1)
    z = rsample(model.encoder(BATCH["x"]))
    w = rsample(model.prior().expand((6,)))
    divergence = mmd(z, w, partial(imq, width=6.0))  # 2 z_dim
    distortion = -model.decoder(z).log_prob(BATCH["x"]).mean()
    torch.testing.assert_close(losses["mmd"], divergence)
    torch.testing.assert_close(losses["loss"], distortion + 10 * divergence)
    without = small(1.0, 0.0)  # also without the divergence
    torch.manual_seed(1)
    torch.testing.assert_close(without(BATCH)["loss"], distortion)


def test_the_weights_between() -> None:
    for alpha, lambda_ in ((0.5, 3.0), (-1.0, 5.0), (0.9, 0.1)):
        losses = small(alpha, lambda_)(BATCH)
        expected = losses["distortion"] + (1 - alpha) * losses["rate"] + (alpha + lambda_ - 1) * losses["mmd"]
        torch.testing.assert_close(losses["loss"], expected)


def test_kernel_and_its_scale() -> None:
    z = torch.randn(5, 3)
    for name, kernel in (("rbf", rbf), ("imq", imq)):
        model = small(1.0, 1.0, kernel=name, kernel_scale=0.5)
        torch.manual_seed(1)
        found = model.divergence(z)
        torch.manual_seed(1)
        w = rsample(model.prior().expand((5,)))
        torch.testing.assert_close(found, mmd(z, w, partial(kernel, width=3.0)))


def test_gradients_of_the_divergence_pull_codes_to_the_prior() -> None:
    model = small(1.0, 1.0)
    z = torch.full((64, 3), 2.0) + 0.1 * torch.randn(64, 3)
    z.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.divergence(z), [z])
    assert (gradient.mean(0) > 0).all()  # descent goes down, to 0


def test_a_prior_that_is_a_mixture_is_sampled() -> None:
    torch.manual_seed(0)
    model = InfoVAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), MixturePrior(3, 4), 0.5, 2.0)
    model(BATCH)["loss"].backward()
    assert model.sample_prior(5).shape == (5, 3)
    assert all(p.grad is not None and p.grad.any() for p in model.prior.parameters())  # by the rate


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="alpha=1.5: it must be at most 1"):
        small(1.5, 1.0)
    with pytest.raises(UserError, match="lambda_=0.5: it must be at least 1 - alpha = 1"):
        small(0.0, 0.5)
    with pytest.raises(UserError, match="lambda_=1: it must be at least 1 - alpha = 2"):
        small(Linear(-1.0, 1.0, over="3 epochs"), 1.0)
    with pytest.raises(UserError, match="no kernel 'rfb': did you mean 'rbf'"):
        small(1.0, 1.0, kernel="rfb")
    with pytest.raises(UserError, match="kernel_scale=0: it must be above 0"):
        small(1.0, 1.0, kernel_scale=0)
