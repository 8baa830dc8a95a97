"""CEB and NonlinearIB compared with VIB: limits in which they agree, a slow double loop, and closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent

from frame.architectures.base import DiagonalNormal
from frame.architectures.priors import ClassNormal
from frame.common.errors import UserError
from frame.data.base import Batch
from frame.evaluation.base import BoundsLikelihood, Encodes, Predicts
from frame.models.base import ConditionalDistribution
from frame.models.CEB import CEB
from frame.models.NonlinearIB import NonlinearIB, pairwise_kl
from frame.models.VIB import VIB
from frame.probability.distributions import Delta, diagonal_normal
from frame.probability.mutual_information import mixture_information
from tests import digits

BATCH: Batch = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), "y": torch.arange(6) % 3}


def networks() -> tuple[digits.Encoder, digits.Predictor]:
    torch.manual_seed(0)
    return digits.Encoder(3, [8]), digits.Predictor(3)


def losses(model: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {name: value.detach() for name, value in model(BATCH).items()}


# CEB


def test_ceb_that_ignores_y_is_vib() -> None:
    """The prior takes the backward encoder's place: the same loss on the same noise."""
    encoder, predictor = networks()
    ceb = losses(CEB(encoder, predictor, DiagonalNormal(3), beta=0.3, n_samples=4))
    vib = losses(VIB(encoder, predictor, DiagonalNormal(3), beta=0.3, n_samples=4))
    assert ceb["loss"] == vib["loss"] and ceb["residual"] == vib["rate"]


def test_residual_is_the_kl_to_the_class_of_each_row() -> None:
    """KL of diagonal Gaussians written out, row by row and latent by latent."""
    encoder, predictor = networks()
    backward = ClassNormal(3, n_classes=10)
    found = losses(CEB(encoder, predictor, backward, beta=2.0))
    with torch.no_grad():
        q, b, total = encoder(BATCH["x"]), backward(torch.arange(10)), 0.0
    for i, y in enumerate(BATCH["y"].tolist()):
        for d in range(3):
            s, t = float(q.stddev[i, d]), float(b.stddev[y, d])
            total += math.log(t / s) + (s**2 + float(q.mean[i, d] - b.mean[y, d]) ** 2) / (2 * t**2) - 0.5
    assert float(found["residual"]) == pytest.approx(total / 6, rel=1e-5)
    torch.testing.assert_close(found["loss"], found["cross_entropy"] + 2 * found["residual"])


def test_an_encoder_of_the_class_alone_has_no_residual() -> None:
    class Labels(ConditionalDistribution):
        """Encodes only the class of each row of BATCH."""

        def __init__(self, backward: ClassNormal) -> None:
            super().__init__()
            self.backward = backward

        def forward(self, x: Tensor) -> Independent:
            return self.backward(BATCH["y"])

        def features(self, x: Tensor) -> Tensor:
            return x

    backward = ClassNormal(3)
    _, predictor = networks()
    assert abs(float(losses(CEB(Labels(backward), predictor, backward, beta=1.0))["residual"])) < 1e-6


def test_class_normal_starts_near_the_standard_normal_with_one_gaussian_per_class() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        p = ClassNormal(400, n_classes=4)(torch.tensor([0, 1, 1]))
    assert p.batch_shape == (3,) and p.event_shape == (400,)
    assert torch.equal(p.mean[1], p.mean[2]) and not torch.equal(p.mean[0], p.mean[1])
    # torch's initial weights lie within +- 1 / sqrt(n_classes) = 0.5, for weight and bias each
    assert p.mean.abs().max() < 1 and p.stddev.mean().item() == pytest.approx(1, abs=0.05)


# NonlinearIB


def slow_bound(q: Independent) -> float:
    """-(1/N) sum_i log((1/N) sum_j exp(-KL(q_i || q_j))), in two loops."""
    n, total = len(q.mean), 0.0
    for i in range(n):
        inner = 0.0
        for j in range(n):
            a, b = diagonal_normal(q.mean[i], q.stddev[i]), diagonal_normal(q.mean[j], q.stddev[j])
            inner += math.exp(-float(torch.distributions.kl_divergence(a, b)))
        total += math.log(inner / n)
    return -total / n


@pytest.mark.parametrize("squared", [True, False])
def test_rate_equals_a_slow_double_loop(squared: bool) -> None:
    encoder, predictor = networks()
    found = losses(NonlinearIB(encoder, predictor, beta=0.5, squared=squared, n_samples=3))
    with torch.no_grad():
        rate = slow_bound(encoder(BATCH["x"]))
    assert float(found["rate"]) == pytest.approx(rate, rel=1e-4) and rate > 0.01
    expected = float(found["cross_entropy"]) + 0.5 * (rate**2 if squared else rate)
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-4)


def test_equal_rows_have_no_information_and_distant_rows_the_log_of_their_number() -> None:
    """All codes equal: 0. None near another: log N. Two far groups of equal ones: log 2."""
    torch.manual_seed(0)
    scale = torch.rand(1, 4) + 0.1
    alike = diagonal_normal(torch.randn(1, 4).expand(8, 4), scale.expand(8, 4))
    apart = diagonal_normal(100.0 * torch.arange(8.0).unsqueeze(1).expand(8, 4), scale.expand(8, 4))
    groups = diagonal_normal(100.0 * (torch.arange(8.0) % 2).unsqueeze(1).expand(8, 4), scale.expand(8, 4))
    for q, expected in ((alike, 0.0), (apart, math.log(8)), (groups, math.log(2))):
        assert float(mixture_information(pairwise_kl(q))) == pytest.approx(expected, abs=1e-6)


def test_the_bound_is_not_below_the_information() -> None:
    """I(x; z) of equally likely rows, by 20,000 samples of log q(z|x_i) - log mean_j q(z|x_j)."""
    torch.manual_seed(0)
    q = diagonal_normal(torch.randn(8, 2), torch.rand(8, 2) + 0.3)
    z = q.sample((20_000,))  # [S, N, D]
    log_q = torch.stack([diagonal_normal(q.mean[j], q.stddev[j]).log_prob(z) for j in range(8)])  # [N, S, N]
    information = (q.log_prob(z) - log_q.logsumexp(0) + math.log(8)).mean()
    bound = mixture_information(pairwise_kl(q))
    assert information + 0.02 < bound < math.log(8)


def test_kl_of_pairs_has_the_documented_direction() -> None:
    """N(0, 1) and N(1, 2^2): KL(0 || 1) = log 2 + 2/8 - 1/2, KL(1 || 0) = -log 2 + 5/2 - 1/2."""
    q = diagonal_normal(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]]))
    log_2 = math.log(2)
    torch.testing.assert_close(pairwise_kl(q), torch.tensor([[0.0, log_2 - 0.25], [2 - log_2, 0.0]]))


def test_an_encoder_without_scales_is_refused() -> None:
    class Certain(ConditionalDistribution):
        def forward(self, x: Tensor) -> Delta:
            return Delta(x.flatten(1)[:, :3])

    with pytest.raises(UserError, match=r"an encoder whose q\(z\|x\) is a diagonal Gaussian, not a Delta"):
        losses(NonlinearIB(Certain(), networks()[1], beta=1.0))


# both


def test_capabilities_and_errors() -> None:
    encoder, predictor = networks()
    for model in (CEB(encoder, predictor, ClassNormal(3), 1.0), NonlinearIB(encoder, predictor, 0.01)):
        assert isinstance(model, Encodes) and isinstance(model, Predicts)
        assert not isinstance(model, BoundsLikelihood)
        assert model.needs == ("x", "y")
        torch.testing.assert_close(model.predict(BATCH["x"]).exp().sum(1), torch.ones(6))
    with pytest.raises(UserError, match="beta=-1"):
        CEB(encoder, predictor, ClassNormal(3), -1)
    with pytest.raises(UserError, match="beta=-1"):
        NonlinearIB(encoder, predictor, -1)
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 3, backward_encoder 4\)"):
        CEB(encoder, predictor, ClassNormal(4), 1)
    with pytest.raises(UserError, match="n_classes=1"):
        ClassNormal(3, n_classes=1)
