"""IWAE and its relatives: limits, slow loops written from the papers, and a model with a known likelihood."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from frame.architectures.base import DiagonalNormal
from frame.common.errors import UserError
from frame.evaluation.base import BoundsLikelihood, Decodes, Encodes, Reconstructs, Samples, WeighsSamples
from frame.models.base import LatentVariableModel
from frame.models.CIWAE import CIWAE
from frame.models.IWAE import IWAE
from frame.models.MIWAE import MIWAE
from frame.models.PIWAE import PIWAE
from frame.probability.importance import iwae_bound
from tests import digits
from tests.models.test_VAE import LinearDecoder, TruePosterior, linear_vae, log_p

X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def networks() -> tuple[digits.Encoder, digits.Decoder, DiagonalNormal]:
    torch.manual_seed(0)
    return digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3)


def loss(model: LatentVariableModel, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return model({"x": X})["loss"]


def gradients(model: LatentVariableModel, of: str = "") -> dict[str, Tensor]:
    model.zero_grad()
    loss(model).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if name.startswith(of) and p.grad is not None}


def slow_log_weights(model: LatentVariableModel, n_samples: int, seed: int = 1) -> list[list[Tensor]]:
    """log w of each sample and picture by itself, on the noise that `loss` has."""
    torch.manual_seed(seed)
    eps = torch.randn(n_samples, len(X), 3)
    found = []
    for k in range(n_samples):
        row = []
        for i, x in enumerate(X.split(1)):
            q = model.encoder(x)
            z = q.mean + q.stddev * eps[k, i]
            row.append((model.decoder(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)).squeeze())
        found.append(row)
    return found


def test_one_sample_is_the_sampled_elbo_on_the_same_noise() -> None:
    model = IWAE(*networks(), n_samples=1)
    torch.manual_seed(1)
    q = model.encoder(X)
    z = q.mean + q.stddev * torch.randn(6, 3)
    log_q = (-((z - q.mean) ** 2) / (2 * q.variance) - q.stddev.log() - math.log(2 * math.pi) / 2).sum(1)
    log_prior = (-(z**2) / 2 - math.log(2 * math.pi) / 2).sum(1)
    torch.testing.assert_close(loss(model), -(model.decoder(z).log_prob(X) + log_prior - log_q).mean())


def test_loss_and_gradient_are_those_of_a_slow_loop() -> None:
    """1509.00519, eq. 13 and 14: the gradient is sum_k w~_k grad log w_k, w~ the normalised weights."""
    model = IWAE(*networks(), n_samples=4)
    fast = gradients(model)
    slow = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    bound = 0.0
    log_w = slow_log_weights(model, 4)
    for i in range(len(X)):
        w = np.exp([log_w[k][i].item() for k in range(4)])
        bound += math.log(w.mean()) / len(X)
        for k in range(4):
            found = torch.autograd.grad(log_w[k][i], list(model.parameters()), retain_graph=True)
            for name, g in zip(slow, found, strict=True):
                slow[name] -= w[k] / w.sum() * g / len(X)
    assert loss(model).item() == pytest.approx(-bound, rel=1e-5)
    assert fast.keys() == slow.keys()
    for name in slow:
        torch.testing.assert_close(fast[name], slow[name], rtol=1e-3, atol=1e-5)


def test_bound_grows_with_samples_and_stays_below_the_likelihood() -> None:
    """q(z|x) is the posterior shifted by d: log w = log p(x) - r^2/2 - r e, r^2 = sum of d^2 / variance, e ~ N(0, 1).

    So the ELBO's gap is r^2/2, and with k samples it is -E log 1/k sum_k exp(-r^2/2 - r e_k).
    """
    torch.manual_seed(0)
    x = torch.randn(4000, 4)
    r = 0.3 * math.sqrt(9 + 17)
    noise = np.random.default_rng(0).normal(size=(100000, 20))
    bounds = {}
    for k in (1, 5, 20):
        torch.manual_seed(1)  # the first samples are the same
        bounds[k] = iwae_bound(linear_vae(shift=0.3).log_weights(x, n_samples=k))
        gap = log_p(x) - bounds[k]
        expected = -np.log(np.exp(-(r**2) / 2 - r * noise[:, :k]).mean(1)).mean()
        assert gap.mean().item() == pytest.approx(expected, abs=5 * gap.std().item() / 4000**0.5)
        assert gap.mean() > 5 * gap.std() / 4000**0.5
    for fewer, more in ((1, 5), (5, 20)):
        growth = bounds[more] - bounds[fewer]
        assert growth.mean() > 10 * growth.std() / 4000**0.5


def test_many_samples_reach_the_likelihood() -> None:
    """Variance of the mean weight exp(r^2) - 1 over S = 20,000 with r^2 = 0.04 * 26: standard error 0.0096."""
    torch.manual_seed(0)
    x = torch.randn(5, 4)
    bound = iwae_bound(linear_vae(shift=0.2).log_weights(x, n_samples=20000))
    torch.testing.assert_close(bound, log_p(x), rtol=0, atol=0.04)
    assert (iwae_bound(linear_vae(shift=0.2).log_weights(x, n_samples=1)) - log_p(x)).abs().max() > 0.2


def test_weights_of_the_true_posterior_are_the_likelihood() -> None:
    model = IWAE(TruePosterior(), LinearDecoder(), DiagonalNormal(2), n_samples=3)
    x = torch.randn(7, 4)
    torch.testing.assert_close(model({"x": x})["loss"], -log_p(x).mean())


def test_miwae_of_one_bound_is_the_iwae_and_of_one_sample_the_elbo() -> None:
    miwae, iwae = MIWAE(*networks(), n_bounds=1, n_samples=4), IWAE(*networks(), n_samples=4)
    torch.testing.assert_close(loss(miwae), loss(iwae))
    elbo = torch.stack([torch.stack(row) for row in slow_log_weights(iwae, 5)]).mean()
    torch.testing.assert_close(loss(MIWAE(*networks(), n_bounds=5, n_samples=1)), -elbo)


def test_miwae_is_a_mean_of_bounds() -> None:
    model = MIWAE(*networks(), n_bounds=3, n_samples=2)
    log_w = np.array([[w.item() for w in row] for row in slow_log_weights(model, 6)])
    bounds = [np.log((np.exp(log_w[m]) + np.exp(log_w[m + 3])) / 2) for m in range(3)]  # two samples each
    assert loss(model).item() == pytest.approx(-np.mean(bounds), rel=1e-5)


def test_piwae_gives_the_encoder_the_miwaes_gradient_and_the_decoder_the_iwaes() -> None:
    piwae = PIWAE(*networks(), n_bounds=3, n_samples=2)
    iwae, miwae = IWAE(*networks(), n_samples=6), MIWAE(*networks(), n_bounds=3, n_samples=2)
    torch.testing.assert_close(loss(piwae), loss(iwae))
    for network, twin, other in (("decoder", iwae, miwae), ("encoder", miwae, iwae)):
        mine, theirs = gradients(piwae, network), gradients(twin, network)
        assert mine.keys() == theirs.keys() and mine
        for name in mine:
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-3, atol=1e-5)
        others = gradients(other, network)
        assert any((mine[name] - others[name]).abs().max() > 1e-3 for name in mine)


def test_ciwae_mixes_the_two_bounds() -> None:
    iwae = IWAE(*networks(), n_samples=4)
    elbo = torch.stack([torch.stack(row) for row in slow_log_weights(iwae, 4)]).mean()
    for beta in (0.0, 0.3, 1.0):
        model = CIWAE(*networks(), beta=beta, n_samples=4)
        torch.testing.assert_close(loss(model), -beta * elbo + (1 - beta) * loss(iwae))


def test_capabilities() -> None:
    for model in (IWAE(*networks(), 2), MIWAE(*networks(), 2, 2), PIWAE(*networks(), 2, 2), CIWAE(*networks(), 0.1, 2)):
        for capability in (Encodes, Decodes, Reconstructs, Samples, BoundsLikelihood, WeighsSamples):
            assert isinstance(model, capability)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="n_samples=0: it must be at least 1"):
        IWAE(*networks(), n_samples=0)
    for kind in (MIWAE, PIWAE):
        with pytest.raises(UserError, match="n_bounds=0: it must be at least 1"):
            kind(*networks(), n_bounds=0, n_samples=1)
    with pytest.raises(UserError, match="beta=2: it is a share, at most 1"):
        CIWAE(*networks(), beta=2.0, n_samples=1)
    with pytest.raises(UserError, match="beta=-1"):
        CIWAE(*networks(), beta=-1.0, n_samples=1)
