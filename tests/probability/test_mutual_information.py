"""Estimates of mutual information: slow loops of the papers' equations, and the best critic in closed form."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from frame.common.errors import NoNumber, TooFew, UserError
from frame.measures.classifier import fit_classifier
from frame.probability import mutual_information as info

# The correlations of Poole et al. 2019 (1905.06922) and Song & Ermon 2020 (1910.06222), in 20 dimensions
CORRELATIONS = {2: 0.4258, 4: 0.5742, 6: 0.6717, 8: 0.7421, 10: 0.7951}
DIM = 20


def pairs(nats: float, n: int, seed: int = 0) -> tuple[Tensor, Tensor, float]:
    generator = torch.Generator().manual_seed(seed)
    rho = info.gaussian_correlation(nats, DIM)
    x, noise = torch.randn(2, n, DIM, generator=generator)
    return x, rho * x + math.sqrt(1 - rho**2) * noise, rho


def best_scores(nats: float, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """log p(x, y) / (p(x) p(y)) of n joint pairs and of n independent pairs."""
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
    """Each pair occurs in proportion to its probability, so that expectations are exact sums."""
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
    """-log of a mean is convex, so the estimate from small batches is not a lower bound; NWJ's varies like e^I."""
    batches = [best_scores(6, 64, seed) for seed in range(200)]
    dv = torch.stack([info.donsker_varadhan(*scores) for scores in batches])
    nwj = torch.stack([info.nwj(1 + joint, 1 + marginal) for joint, marginal in batches])
    smile = torch.stack([info.smile(*scores, 1.0) for scores in batches])
    assert dv.mean() > 6.5
    assert smile.std() < dv.std() < nwj.std()


@pytest.mark.parametrize("nats", CORRELATIONS)
def test_club_with_the_true_conditional_is_an_upper_bound(nats: int) -> None:
    """E log p(y|x) per dimension: -1/2 with its own x, -(1 + rho^2) / (2 (1 - rho^2)) with another's."""
    x, y, rho = pairs(nats, 20_000)
    x_apart, _, _ = pairs(nats, 20_000, seed=1)

    def log_q(x: Tensor) -> Tensor:
        return torch.distributions.Normal(rho * x, math.sqrt(1 - rho**2)).log_prob(y).sum(-1)

    found = info.club(log_q(x), log_q(x_apart)).item()
    assert found == pytest.approx(DIM * rho**2 / (1 - rho**2), rel=0.02)
    assert found > nats


# With the known conditional: z ~ N(rho x, 1 - rho^2), so that p(z) is N(0, 1)


def bounds(nats: float, n: int, batch: int) -> dict[str, Tensor]:
    """Values per row, or per batch, of four estimates of I(x; z)."""
    x, z, rho = pairs(nats, n)
    loc, scale = rho * x, torch.full_like(x, math.sqrt(1 - rho**2))
    log_q = info.gaussian_log_probs(z, loc, scale)
    blocks = [log_q[i : i + batch, i : i + batch] for i in range(0, n, batch)]
    return {
        "infonce": torch.stack([info.infonce(block) for block in blocks]),
        "mixture": log_q.diagonal() - log_q.logsumexp(1) + math.log(n),
        "leave_one_out": torch.stack([info.leave_one_out(block) for block in blocks]),
        "rate": (0.5 * (loc.square() + scale.square() - 1) - scale.log()).sum(1),
    }


@pytest.mark.parametrize("nats", CORRELATIONS)
def test_bounds_with_a_known_conditional_enclose_the_information(nats: int) -> None:
    found = bounds(nats, 2048, 256)
    value = {key: rows.mean().item() for key, rows in found.items()}
    error = {key: rows.std().item() / math.sqrt(len(rows)) for key, rows in found.items()}
    assert value["infonce"] < value["mixture"] < nats + 3 * error["mixture"]
    assert value["leave_one_out"] > nats - 3 * error["leave_one_out"]
    assert value["rate"] == pytest.approx(nats, abs=4 * error["rate"])  # p(z) is the aggregate posterior here
    assert value["infonce"] <= math.log(256) and value["mixture"] <= math.log(2048)
    assert info.is_saturated(value["infonce"], 256) == (nats >= 8)
    if nats == 2:  # far from log N all of them are close
        assert list(value.values()) == pytest.approx([2] * 4, abs=0.15)
    assert (value["leave_one_out"] > nats + 0.5) == (nats >= 6)  # it is loose where the rate is not


def test_pairs_of_gaussians_are_torchs_and_leave_one_out_is_its_loop() -> None:
    z, loc, scale = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = scale.abs() + 0.1
    slow = torch.distributions.Independent(torch.distributions.Normal(loc, scale), 1).log_prob(z.unsqueeze(1))
    f = info.gaussian_log_probs(z, loc, scale)
    torch.testing.assert_close(f, slow)
    others = [math.log(sum(math.exp(f[i, j]) for j in range(6) if j != i) / 5) for i in range(6)]
    expected = sum(float(f[i, i]) - others[i] for i in range(6)) / 6
    assert info.leave_one_out(f).item() == pytest.approx(expected)


def mixture(gap: float, n: int, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, float]:
    """Codes [n, 1] ~ N(gap y, 1), y uniform over classes; log p(y|z), and I(z; y) by summing over a fine grid."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    codes = gap * y.double().unsqueeze(1) + torch.randn(n, 1, generator=generator, dtype=torch.float64)
    centres = gap * torch.arange(classes).double()

    def log_p(z: Tensor) -> Tensor:
        return (-(z - centres).square() / 2).log_softmax(1)

    grid = torch.linspace(-9, 9 + gap * (classes - 1), 20_001, dtype=torch.float64).unsqueeze(1)
    density = (-(grid - centres).square() / 2).exp().mean(1) / math.sqrt(2 * math.pi)
    inside = torch.special.entr(log_p(grid).exp()).sum(1)
    step = (grid[1] - grid[0]).item()
    return codes, y, log_p(codes), math.log(classes) - (density * inside).sum().item() * step


@pytest.mark.parametrize("gap", [0.0, 0.5, 1.5, 3.0, 8.0])
def test_labels_of_a_known_mixture(gap: float) -> None:
    codes, y, log_p, truth = mixture(gap, 4000)
    told = info.classifier_information(log_p, y)
    assert told.mean().item() == pytest.approx(truth, abs=4 * told.std().item() / math.sqrt(4000) + 0.002)
    worse = info.classifier_information((0.5 * log_p).log_softmax(1), y).mean().item()
    assert worse <= told.mean().item() + 1e-9  # any other classifier has less
    near = info.knn_information(codes, y)
    assert near.mean().item() == pytest.approx(truth, abs=0.05)
    assert truth <= info.label_entropy(y) + 1e-3


def test_nearest_neighbours_are_scikit_learns_and_a_slow_loop() -> None:
    from scipy.special import digamma
    from sklearn.feature_selection import mutual_info_classif

    codes, y, _, _ = mixture(1.0, 500)
    theirs = mutual_info_classif(codes.numpy(), y.numpy(), n_neighbors=3, random_state=0)[0]
    assert info.knn_information(codes, y, 3).mean().item() == pytest.approx(theirs, abs=1e-6)
    z = torch.randn(60, 3, generator=torch.Generator().manual_seed(1)).double()
    labels, k, total = (torch.arange(60) % 2), 4, 0.0
    for i in range(60):
        d = [math.dist(z[i].tolist(), z[j].tolist()) for j in range(60)]
        own = sorted(d[j] for j in range(60) if j != i and labels[j] == labels[i])
        m = sum(d[j] <= own[k - 1] for j in range(60) if j != i)
        total += digamma(60) + digamma(k) - digamma(30) - digamma(m)
    assert info.knn_information(z, labels, k).mean().item() == pytest.approx(total / 60, abs=1e-9)


def test_labels_of_discrete_codes_and_errors() -> None:
    y = torch.arange(400) % 4
    codes = (y % 2).double().unsqueeze(1)  # one bit of two, 200 rows at each value
    assert info.knn_information(codes, y).mean().item() == pytest.approx(math.log(2), abs=0.1)
    with pytest.raises(NoNumber, match="one class"):
        info.classifier_information(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(TooFew, match="class 0 has 3 rows"):
        info.knn_information(torch.randn(12, 2), torch.arange(12) % 4)
    with pytest.raises(NoNumber, match="diverged"):
        info.knn_information(torch.full((12, 2), math.nan), torch.arange(12) % 2)


def test_a_classifier_of_codes_is_a_lower_bound_near_the_truth() -> None:
    train, valid, test = (mixture(1.5, n, seed=seed) for n, seed in ((1000, 1), (500, 2), (4000, 3)))
    net = fit_classifier(train[0], train[1], valid[0], valid[1], 4, hidden=32)
    found = info.classifier_information(net(test[0].float()).detach().log_softmax(1), test[1]).mean().item()
    best = info.classifier_information(test[2], test[1]).mean().item()
    assert best - 0.03 < found <= best + 0.01
    linear = fit_classifier(train[0] ** 2, train[1], valid[0] ** 2, valid[1], 4, hidden=0, iterations=1)
    assert len(list(linear.parameters())) == 2
    with pytest.raises(UserError, match="classes 0 .. 2"):
        fit_classifier(train[0], train[1], valid[0], valid[1], 3)
    with pytest.raises(NoNumber, match="equal"):
        fit_classifier(torch.ones(9, 2), torch.arange(9) % 3, torch.ones(9, 2), torch.arange(9) % 3, 3)
