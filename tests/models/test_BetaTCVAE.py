"""The decomposition of the KL: exact cases, and its estimators against loops written from the paper."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from frame.architectures.base import DiagonalNormal
from frame.common.errors import UserError
from frame.models.base import ConditionalDistribution
from frame.models.BetaTCVAE import BetaTCVAE
from frame.probability.distributions import Delta, diagonal_normal
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def model(alpha: Any = 1.0, beta: Any = 1.0, gamma: Any = 1.0, n_data: int = 50, estimator: str = "weighted") -> Any:
    torch.manual_seed(0)
    networks = digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3)
    return BetaTCVAE(*networks, alpha, beta, gamma, n_data, estimator)


def drawn(tc: BetaTCVAE) -> tuple[Tensor, Tensor, Tensor]:
    """Means and standard deviations of q(z|x), and the z that a loss after manual_seed(1) draws."""
    with torch.no_grad():
        q = tc.encoder(BATCH["x"])
    torch.manual_seed(1)
    return q.mean, q.stddev, q.mean + q.stddev * torch.randn_like(q.mean)


def log_normal(z: Tensor, mean: Tensor, stddev: Tensor) -> float:
    return float(-0.5 * ((z - mean) / stddev) ** 2 - stddev.log() - 0.5 * math.log(2 * math.pi))


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_with_all_weights_1_it_is_the_elbo_with_a_sampled_kl_on_the_same_z(estimator: str) -> None:
    tc = model(estimator=estimator)
    _, _, z = drawn(tc)
    torch.manual_seed(1)
    losses = tc(BATCH)
    kl = tc.encoder(BATCH["x"]).log_prob(z) - tc.p_z().log_prob(z)
    elbo = tc.decoder(z).log_prob(BATCH["x"]) - kl
    torch.testing.assert_close(losses["loss"], -elbo.mean())
    parts = losses["mutual_information"] + losses["total_correlation"] + losses["dimension_wise_kl"]
    torch.testing.assert_close(parts, kl.mean())


def weight(estimator: str, i: int, j: int, n: int, n_data: int) -> float:
    """The weight of component j in q(z_i). Weighted: 1 / (N B). Stratified, M = B - 1: 1/N, (N - M)/(N M), or 1/M."""
    if estimator == "weighted":
        return 1 / (n_data * n)
    if j == i:
        return 1 / n_data
    m = n - 1
    return (n_data - m) / (n_data * m) if j == (i + 1) % n else 1 / m


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_the_parts_are_those_of_a_loop_written_from_the_paper(estimator: str) -> None:
    tc = model(estimator=estimator)
    mean, stddev, z = drawn(tc)
    torch.manual_seed(1)
    losses = tc(BATCH)
    n, n_dims = z.shape
    mi = total = dimension_wise = 0.0
    for i in range(n):
        log_q_z_given_n = sum(log_normal(z[i, d], mean[i, d], stddev[i, d]) for d in range(n_dims))
        joint, marginals = 0.0, [0.0] * n_dims
        for j in range(n):
            w, product = weight(estimator, i, j, n, 50), 1.0
            for d in range(n_dims):
                density = math.exp(log_normal(z[i, d], mean[j, d], stddev[j, d]))
                product *= density
                marginals[d] += w * density
            joint += w * product
        log_q_z_d = sum(math.log(marginal) for marginal in marginals)
        mi += (log_q_z_given_n - math.log(joint)) / n
        total += (math.log(joint) - log_q_z_d) / n
        prior = sum(log_normal(z[i, d], torch.tensor(0.0), torch.tensor(1.0)) for d in range(n_dims))
        dimension_wise += (log_q_z_d - prior) / n
    for name, slow in (("mutual_information", mi), ("total_correlation", total), ("dimension_wise_kl", dimension_wise)):
        assert losses[name].item() == pytest.approx(slow, abs=1e-4), name


def test_each_weight_multiplies_its_part() -> None:
    tc = model(2.0, 5.0, 3.0)
    losses = tc(BATCH)
    expected = (
        losses["distortion"]
        + 2 * losses["mutual_information"]
        + 5 * losses["total_correlation"]
        + 3 * losses["dimension_wise_kl"]
    )
    torch.testing.assert_close(losses["loss"], expected)


def test_stratified_weights_by_hand() -> None:
    """N = 10, B = 3, M = 2: own 1/10; the next (10 - 2)/(10 * 2) = 0.4; the other 1/2. Rows add up to 1."""
    w = model(n_data=10, estimator="stratified").log_weights_of_components(3, torch.zeros(())).exp()
    by_hand = torch.tensor([[0.1, 0.4, 0.5], [0.5, 0.1, 0.4], [0.4, 0.5, 0.1]])
    torch.testing.assert_close(w, by_hand)


def test_with_the_whole_data_as_its_batch_the_stratified_estimate_is_q() -> None:
    """N = B = 6: own 1/6, four others 1/5, the next 1/30: over all orders of a batch, each of them weighs 1/6."""
    w = model(n_data=6, estimator="stratified").log_weights_of_components(6, torch.zeros(())).exp()
    torch.testing.assert_close(w.sum(1), torch.ones(6))
    torch.testing.assert_close(w[0, 1:].mean(), w[0, 0])


def test_a_batch_of_one_row_has_a_loss() -> None:
    for estimator in ("weighted", "stratified"):
        losses = model(estimator=estimator)({"x": BATCH["x"][:1]})
        assert all(value.isfinite() for value in losses.values())


def test_the_weighted_estimate_is_no_measurement() -> None:
    """For independent latents, whose total correlation is 0, it exceeds 100 nats (N = 737,280, batches of 64)."""

    class Independently(ConditionalDistribution):
        z_dim = 10

        def forward(self, x: Tensor) -> Independent:
            return diagonal_normal(x, torch.full_like(x, 0.1))

    tc = BetaTCVAE(Independently(), digits.Decoder(10, [8]), DiagonalNormal(10), 1.0, 1.0, 1.0, 737_280, "weighted")
    torch.manual_seed(0)
    means = torch.randn(64, 10)
    log_q, log_q_z, log_q_z_d = tc.log_densities(tc.encoder(means), means)
    assert 100 < (log_q_z - log_q_z_d).mean() < 160


def test_errors_are_named() -> None:
    for name in ("alpha", "beta", "gamma"):
        with pytest.raises(UserError, match=f"{name}=-1"):
            model(**{name: -1})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="n_data=0: it must be at least 1"):
        model(n_data=0)
    with pytest.raises(UserError, match="no estimator 'stratifed': did you mean 'stratified'"):
        model(estimator="stratifed")

    class Deterministic(digits.Encoder):
        def forward(self, x: Tensor, *conditions: Tensor) -> Distribution:
            return Delta(super().forward(x).mean)

    tc = BetaTCVAE(Deterministic(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3), 1, 1, 1, 50)
    with pytest.raises(UserError, match="diagonal Gaussians"):
        tc(BATCH)
