"""Learned priors: densities against loops, torch's mixture, autograd's Jacobian, quadrature; moments of samples."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal
from torch.func import functional_call, stack_module_state, vmap

from frame.architectures.base import DiagonalNormal
from frame.architectures.priors import Coupling, FlowPrior, MixturePrior, VampPrior
from frame.common.errors import UserError
from frame.models.base import ConditionalDistribution
from frame.models.VAE import VAE
from frame.probability.distributions import diagonal_normal
from tests import digits


def stirred(module: nn.Module, by: float = 0.5) -> nn.Module:
    """The same module, with its parameters moved away from their initial values."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return module


def mixture_prior() -> MixturePrior:
    torch.manual_seed(0)
    prior = stirred(MixturePrior(3, 4))
    assert isinstance(prior, MixturePrior)
    return prior


def flow_prior(z_dim: int, n_couplings: int = 4) -> FlowPrior:
    torch.manual_seed(0)
    prior = stirred(FlowPrior(z_dim, n_couplings, [5]))
    assert isinstance(prior, FlowPrior)
    return prior


def test_vamp_prior_is_the_mixture_of_the_posteriors_of_its_pseudo_inputs() -> None:
    """Eq. 9 in a loop: p(z) = 1/K sum over k of prod over d of N(z_d | mu_d(u_k), s_d(u_k)^2)."""
    torch.manual_seed(0)
    encoder = digits.Encoder(3, [8])
    prior = VampPrior(3, 5, (1, 8, 8), mean=0.5, std=1.0)  # many lie outside [0, 1] and must be clipped
    z = torch.randn(2, 4, 3)
    found = prior(encoder=encoder).log_prob(z).detach()
    assert prior(encoder=encoder).batch_shape == () and found.shape == (2, 4)
    for i in range(2):
        for j in range(4):
            p = 0.0
            for u in prior.pseudo_inputs.detach():
                q = encoder(u.clamp(0, 1).unsqueeze(0))
                means, scales = q.mean[0].tolist(), q.stddev[0].tolist()
                density = 1.0
                for d in range(3):
                    mu, s = means[d], scales[d]
                    density *= math.exp(-0.5 * ((float(z[i, j, d]) - mu) / s) ** 2) / (s * math.sqrt(2 * math.pi))
                p += density / 5
            assert float(found[i, j]) == pytest.approx(math.log(p), abs=1e-4)


def test_pseudo_inputs_start_at_the_given_values() -> None:
    torch.manual_seed(0)
    u = VampPrior(2, 50, (1, 28, 28)).pseudo_inputs.detach()
    assert u.shape == (50, 1, 28, 28)
    assert float(u.mean()) == pytest.approx(0.05, abs=1e-3) and float(u.std()) == pytest.approx(0.01, abs=1e-3)


def test_gradients_reach_the_pseudo_inputs_and_through_them_the_encoder() -> None:
    torch.manual_seed(0)
    encoder, prior = digits.Encoder(3, [8]), VampPrior(3, 5, (1, 8, 8), mean=0.5, std=0.1)
    prior(encoder=encoder).log_prob(torch.randn(6, 3)).mean().backward()  # there are no pictures but the pseudo-inputs
    assert prior.pseudo_inputs.grad is not None and (prior.pseudo_inputs.grad.flatten(1).abs().sum(1) > 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


class Uninformed(ConditionalDistribution):
    """q(z|x) = N(0, I), whatever x is."""

    def forward(self, x: Tensor) -> Independent:
        zeros = torch.zeros(len(x), 3)
        return diagonal_normal(zeros, torch.ones_like(zeros))


def test_one_pseudo_input_of_an_uninformed_encoder_is_the_plain_vae() -> None:
    torch.manual_seed(0)
    decoder, x = digits.Decoder(3, [8]), torch.rand(6, 1, 8, 8)
    bounds = []
    for prior in (VampPrior(3, 1, (1, 8, 8)), DiagonalNormal(3)):
        torch.manual_seed(1)
        bounds.append(VAE(Uninformed(), decoder, prior, 1.0).log_likelihood_bound(x)["elbo"])
    torch.testing.assert_close(*bounds)


def test_mixture_is_torchs() -> None:
    prior, z = mixture_prior(), torch.randn(6, 2, 3)
    theirs = MixtureSameFamily(
        Categorical(logits=prior.logits), Independent(Normal(prior.loc, prior.log_scale.exp()), 1)
    )
    p_z = prior()
    torch.testing.assert_close(p_z.log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close(p_z.mean, theirs.mean)
    torch.testing.assert_close(p_z.variance, theirs.variance)


def test_narrow_components_far_from_zero_keep_their_precision() -> None:
    """A scale of 1e-3 at 10: squares of 1e8 that cancel to about 1."""
    prior = MixturePrior(40, 2)
    with torch.no_grad():
        prior.loc.fill_(10.0)
        prior.log_scale.fill_(math.log(1e-3))
    z = 10 + 1e-3 * torch.randn(5, 40)
    theirs = Normal(10.0, prior.log_scale.exp()[0].double()).log_prob(z.double()).sum(-1)
    torch.testing.assert_close(prior().log_prob(z).double(), theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("prior", [mixture_prior(), flow_prior(2), flow_prior(3)], ids=["mixture", "flow2", "flow3"])
def test_samples_have_the_moments_of_the_density(prior: ConditionalDistribution) -> None:
    """E[f(z)] over samples against E[f(eps) p(eps) / r(eps)] by importance from a wide Gaussian r."""
    torch.manual_seed(0)
    p_z = prior.requires_grad_(False)()
    samples = p_z.sample((40000,))
    r = diagonal_normal(torch.zeros(samples.shape[1]), torch.full(samples.shape[1:], 2.5))
    others = r.sample((400000,))
    w = (p_z.log_prob(others) - r.log_prob(others)).exp()
    assert float(w.mean()) == pytest.approx(1, abs=0.05)
    for f in (lambda z: z, lambda z: z.square(), lambda z: torch.sin(2 * z)):
        mine, weighted = f(samples), f(others) * w.unsqueeze(1)
        error = (mine.var(0) / len(mine) + weighted.var(0) / len(others)).sqrt()
        assert ((mine.mean(0) - weighted.mean(0)).abs() < 5 * error).all()


def test_log_determinant_is_autograds() -> None:
    prior = flow_prior(3)
    z = torch.randn(4, 3)

    def image(z: Tensor) -> Tensor:
        for coupling in prior.couplings:
            z = coupling(z)[0]
        return z

    for row in z:
        jacobian = torch.autograd.functional.jacobian(image, row)
        expected = Normal(0.0, 1.0).log_prob(image(row)).sum() + jacobian.det().abs().log()
        torch.testing.assert_close(prior().log_prob(row), expected)
        assert (jacobian - torch.eye(3)).abs().max() > 0.1  # the flow does something


def test_inverse_is_the_inverse() -> None:
    torch.manual_seed(0)
    for odd in (False, True):
        coupling = stirred(Coupling(5, [7], odd))
        assert isinstance(coupling, Coupling)
        z = torch.randn(10, 5)
        eps, log_det = coupling(z)
        torch.testing.assert_close(coupling(eps, inverse=True)[0], z)
        torch.testing.assert_close(coupling(eps, inverse=True)[1], -log_det)
        assert torch.equal(eps[:, int(odd) :: 2], z[:, int(odd) :: 2])  # the kept half
        assert not torch.isclose(eps, z)[:, int(not odd) :: 2].any()


def test_flow_integrates_to_1() -> None:
    side = torch.linspace(-40, 40, 801)
    z = torch.cartesian_prod(side, side)
    density = flow_prior(2)().log_prob(z).detach().double().exp()
    total = density.sum() * (side[1] - side[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-3)


def test_flow_starts_close_to_the_standard_normal_and_stays_bounded() -> None:
    torch.manual_seed(0)
    z = torch.randn(100, 4)
    gap = FlowPrior(4, 4, [8])().log_prob(z) - DiagonalNormal(4)().log_prob(z)
    assert gap.abs().max() < 0.3
    wild = stirred(FlowPrior(4, 4, [8]), by=100.0)
    assert wild().rsample((100,)).isfinite().all() and wild().log_prob(100 * z).isfinite().all()


def test_flow_samples_carry_gradients() -> None:
    prior = flow_prior(3)
    prior().rsample((8,)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in prior.parameters())


@pytest.mark.parametrize("make", [lambda: MixturePrior(3, 4), lambda: FlowPrior(3, 2, [4])], ids=["mixture", "flow"])
def test_stacked_priors_sample_and_score_as_each_by_itself(make: Any) -> None:
    torch.manual_seed(0)
    priors = [stirred(make()) for _ in range(2)]
    parameters, buffers = stack_module_state(priors)

    def drawn(parameters: Any, buffers: Any) -> tuple[Tensor, Tensor]:
        p_z: Distribution = functional_call(priors[0], (parameters, buffers), ())
        z = p_z.sample((5,))
        return z, p_z.log_prob(z)

    assert vmap(drawn, randomness="different")(parameters, buffers)[0].shape == (2, 5, 3)
    torch.manual_seed(1)
    z, log_p = vmap(drawn, randomness="same")(parameters, buffers)
    for i, prior in enumerate(priors):
        torch.testing.assert_close(log_p[i], prior().log_prob(z[i]))
        torch.manual_seed(1)
        torch.testing.assert_close(z[i], prior().sample((5,)))


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="n_components=0"):
        VampPrior(2, 0, (1, 8, 8))
    with pytest.raises(UserError, match="n_components=0"):
        MixturePrior(2, 0)
    with pytest.raises(UserError, match="z_dim=1: it must be at least 2"):
        FlowPrior(1, 2, [4])
    with pytest.raises(UserError, match="n_couplings=1"):
        FlowPrior(2, 1, [4])
    with pytest.raises(UserError, match="a VampPrior has no class"):
        VampPrior(2, 2, (1, 8, 8))(torch.zeros(3), encoder=digits.Encoder(2, []))
    with pytest.raises(UserError, match="a VampPrior needs the model's encoder"):
        VampPrior(2, 2, (1, 8, 8))()
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 3, decoder 3, prior 4\)"):
        VAE(digits.Encoder(3, []), digits.Decoder(3, []), VampPrior(4, 2, (1, 8, 8)), 1.0)
