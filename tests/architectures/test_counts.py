"""Negative binomials of a known library size agree with torch's and scipy's."""

import numpy as np
import pytest
import torch
from scipy.stats import nbinom
from torch.distributions import NegativeBinomial

from frame.architectures.counts import CountsBackbone, CountsDecoder, CountsEncoder
from frame.common.errors import UserError


def test_the_density_is_that_of_negative_binomials_of_the_cell_s_library_size() -> None:
    torch.manual_seed(0)
    decoder = CountsDecoder([6], 2, [8])
    with torch.no_grad():
        decoder.log_theta.copy_(torch.randn(6))
    z, x = torch.randn(5, 2), torch.randint(0, 40, (5, 6)).float()
    p = decoder(z)
    mean, theta = x.sum(1, keepdim=True) * p.log_rho.exp(), decoder.log_theta.exp()
    theirs = NegativeBinomial(theta, logits=mean.log() - theta.log()).log_prob(x).sum(1)
    torch.testing.assert_close(p.log_prob(x), theirs, rtol=1e-4, atol=1e-4)
    n = theta.detach().double().numpy()
    again = nbinom.logpmf(x.numpy(), n, n / (n + mean.detach().double().numpy())).sum(1)
    np.testing.assert_allclose(p.log_prob(x).detach().numpy(), again, rtol=1e-4)
    torch.testing.assert_close(p.like(x).mean, mean)
    assert p.mean.sum(1).tolist() == pytest.approx([1e4] * 5, rel=1e-4)


def test_samples_have_the_mean_and_the_variance() -> None:
    torch.manual_seed(0)
    p = CountsDecoder([4], 2, [8], library=40)(torch.randn(1, 2))
    samples = p.sample((20_000,))
    assert samples.shape == (20_000, 1, 4) and torch.equal(samples, samples.round())
    torch.testing.assert_close(samples.mean(0), p.mean.detach(), rtol=0.05, atol=0.1)
    torch.testing.assert_close(samples.var(0), p.variance.detach(), rtol=0.15, atol=1.0)


def test_a_cell_without_counts_and_extreme_shares_have_finite_densities() -> None:
    p = CountsDecoder([3], 1, [])(torch.tensor([[200.0]]))
    assert p.log_prob(torch.tensor([[0.0, 0.0, 0.0]])).isfinite().all()
    assert p.log_prob(torch.tensor([[5.0, 0.0, 900.0]])).isfinite().all()


def test_counts_enter_as_logarithms() -> None:
    encoder = CountsEncoder([3], 2, [4])
    x = torch.tensor([[0.0, 5.0, 1000.0]])
    backbone = encoder.backbone
    assert isinstance(backbone, CountsBackbone)
    assert torch.equal(encoder.features(x), backbone.hidden(x.log1p()))
    with pytest.raises(UserError, match=r"counts are rows \[genes\]"):
        CountsDecoder([1, 8, 8], 2, [4])
