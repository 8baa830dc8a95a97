"""Estimates of mutual information: slow loops of the papers' equations, and the best critic in closed form."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from frame.measures import information as info

# The correlations of Poole et al. 2019 (1905.06922) and Song & Ermon 2020 (1910.06222), in 20 dimensions
CORRELATIONS = {2: 0.4258, 4: 0.5742, 6: 0.6717, 8: 0.7421, 10: 0.7951}
DIM = 20


def pairs(nats: float, n: int, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    generator = torch.Generator().manual_seed(seed)
    rho = info.gaussian_correlation(nats, DIM)
    x, noise = torch.randn(2, n, DIM, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * noise, rho


def best_scores(nats: float, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """log p(x, y) / (p(x) p(y)) of n pairs that belong together and of n that do not."""
    x, y, rho = pairs(nats, n, seed)
    x_apart, _, _ = pairs(nats, n, seed + 1000)
    return info.gaussian_log_ratio(x, y, rho), info.gaussian_log_ratio(x_apart, y, rho)


def best_matrix(nats: float, n: int, seed: int) -> Tensor:
    x, y, rho = pairs(nats, n, seed)
    return info.gaussian_log_ratio(x.unsqueeze(1), y.unsqueeze(0), rho)


@pytest.mark.parametrize("nats", CORRELATIONS)
def test_correlations_are_the_papers(nats: int) -> None:
    assert info.gaussian_correlation(nats, DIM) == pytest.approx(CORRELATIONS[nats], abs=5e-5)
    assert info.gaussian_information(info.gaussian_correlation(nats, DIM), DIM) == pytest.approx(nats)
    assert info.gaussian_information(-0.5) == info.gaussian_information(0.5)


def test_log_ratio_is_that_of_the_densities() -> None:
    rho = 0.6
    x, y = torch.randn(2, 50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = MultivariateNormal(torch.zeros(2).double(), torch.tensor([[1, rho], [rho, 1]], dtype=torch.float64))
    one = MultivariateNormal(torch.zeros(1).double(), torch.eye(1).double())
    expected = both.log_prob(torch.cat([x, y], 1)) - one.log_prob(x) - one.log_prob(y)
    torch.testing.assert_close(info.gaussian_log_ratio(x, y, rho), expected)


def test_off_diagonal() -> None:
    matrix = torch.arange(16.0).view(4, 4)
    expected = [4.0 * i + j for i in range(4) for j in range(4) if i != j]
    assert info.off_diagonal(matrix).tolist() == expected


def test_slow_loops() -> None:
    f = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    joint, marginal = f.diagonal(), info.off_diagonal(f)
    n, p, q = 5, joint.tolist(), marginal.tolist()
    tau = 0.7
    expected = {
        "infonce": sum(math.log(math.exp(f[i, i]) / (sum(math.exp(f[i, j]) for j in range(n)) / n)) for i in range(n))
        / n,
        "nwj": sum(p) / n - sum(math.exp(v - 1) for v in q) / len(q),
        "jsd": -sum(math.log1p(math.exp(-v)) for v in p) / n - sum(math.log1p(math.exp(v)) for v in q) / len(q),
        "dv": sum(p) / n - math.log(sum(math.exp(v) for v in q) / len(q)),
        "smile": sum(p) / n - math.log(sum(min(max(math.exp(v), math.exp(-tau)), math.exp(tau)) for v in q) / len(q)),
        "club": sum(p) / n - sum(q) / len(q),
    }
    found = {
        "infonce": info.infonce(f),
        "nwj": info.nwj(joint, marginal),
        "jsd": info.jsd(joint, marginal),
        "dv": info.donsker_varadhan(joint, marginal),
        "smile": info.smile(joint, marginal, tau),
        "club": info.club(joint, marginal),
    }
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected)


def test_on_a_table_of_probabilities_the_best_critic_finds_the_information() -> None:
    """Each pair as often as its probability says: expectations are sums, and nothing is left to chance."""
    counts = torch.tensor([[4, 1, 3], [2, 6, 0], [1, 1, 6]], dtype=torch.float64)  # of 24
    p = counts / counts.sum()
    q = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
    cells = p > 0
    truth = (p[cells] * (p / q)[cells].log()).sum().item()
    ratio = (p / q).log().clamp(min=-700.0)  # e^-700 for the pair that never occurs
    joint = ratio[cells].repeat_interleave(counts[cells].long())
    # marginal pairs: 24 * 24 of them
    marginal = ratio.flatten().repeat_interleave((q * 24 * 24).round().long().flatten())
    assert info.nwj(1 + joint, 1 + marginal).item() == pytest.approx(truth)
    assert info.donsker_varadhan(joint, marginal).item() == pytest.approx(truth)
    assert info.smile(joint, marginal, math.inf).item() == pytest.approx(truth)
    m = (p + q) / 2
    divergence = ((p[cells] * (p / m)[cells].log()).sum() + (q * (q / m).log()).sum()) / 2
    best = info.jsd(joint, marginal).item()
    assert best == pytest.approx(2 * divergence.item() - math.log(4))
    for step in (-0.1, 0.1):  # any other critic is worse, for all of them
        assert info.jsd(joint * (1 + step), marginal * (1 + step)).item() < best
        assert info.nwj(1 + joint + step, 1 + marginal + step).item() < truth
        assert info.donsker_varadhan(joint * (1 + step), marginal * (1 + step)).item() < truth


@pytest.mark.parametrize("nats", CORRELATIONS)
def test_infonce_never_exceeds_log_n(nats: int) -> None:
    n = 64
    found = torch.stack([info.infonce(best_matrix(nats, n, seed)) for seed in range(50)])
    assert found.max() <= math.log(n)
    bound = min(nats, math.log(n))
    assert found.mean() < bound + 0.05
    # farthest from both where the truth is about log N
    assert found.mean() > bound - {2: 0.4, 4: 1.2, 6: 0.7, 8: 0.25, 10: 0.1}[nats]


def test_infonce_is_bounded_whatever_the_scores() -> None:
    scores = 100 * torch.randn(8, 8, generator=torch.Generator().manual_seed(0)) + 1000 * torch.eye(8)
    assert info.infonce(scores).item() == pytest.approx(math.log(8))
    assert info.infonce(torch.zeros(8, 8)).item() == pytest.approx(0, abs=1e-6)
    assert info.infonce(-1000 * torch.eye(8)).item() < -900


@pytest.mark.parametrize("nats, near", [(2, 0.02), (4, 0.1)])
def test_unnormalised_bounds_are_unbiased_where_the_information_is_small(nats: int, near: float) -> None:
    """E[e^f] has a standard deviation of about e^I for one sample: 400,000 are enough for 4 nats, none for 10."""
    joint, marginal = best_scores(nats, 400_000)
    assert info.nwj(1 + joint, 1 + marginal).item() == pytest.approx(nats, abs=near)
    assert info.donsker_varadhan(joint, marginal).item() == pytest.approx(nats, abs=near)
    assert info.smile(joint, marginal, math.inf) == info.donsker_varadhan(joint, marginal)


def test_few_samples_push_donsker_varadhan_above_the_truth_and_make_nwj_wild() -> None:
    """-log of a mean is convex: so the estimate from small batches is no lower bound, and NWJ's varies as e^I does."""
    batches = [best_scores(6, 64, seed) for seed in range(200)]
    dv = torch.stack([info.donsker_varadhan(*scores) for scores in batches])
    nwj = torch.stack([info.nwj(1 + joint, 1 + marginal) for joint, marginal in batches])
    smile = torch.stack([info.smile(*scores, 1.0) for scores in batches])
    assert dv.mean() > 6.5
    assert smile.std() < dv.std() < nwj.std()


@pytest.mark.parametrize("nats", CORRELATIONS)
def test_club_with_the_true_conditional_is_an_upper_bound(nats: int) -> None:
    """log p(y|x) in expectation: -1/2 a number with its own x, -(1 + rho^2) / (2 (1 - rho^2)) with another's."""
    x, y, rho = pairs(nats, 20_000)
    x_apart, _, _ = pairs(nats, 20_000, seed=1)

    def log_q(x: Tensor) -> Tensor:
        return torch.distributions.Normal(rho * x, math.sqrt(1 - rho**2)).log_prob(y).sum(-1)

    found = info.club(log_q(x), log_q(x_apart)).item()
    assert found == pytest.approx(DIM * rho**2 / (1 - rho**2), rel=0.02)
    assert found > nats
