"""MIB, multi-view InfoMax and InfoMax: closed forms, limits in which they agree, and errors."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent

from frame.architectures.critics import GaussianConditional, JointCritic
from frame.common.durations import RunLength, limits_of
from frame.common.errors import UserError
from frame.common.schedules import Exponential
from frame.composition.compose import compose
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.evaluation.base import BoundsLikelihood, Encodes, HasFeatures
from frame.models.base import ConditionalDistribution, Model
from frame.models.InfoMax import InfoMax
from frame.models.InformationEstimation import InformationEstimation
from frame.models.MIB import MIB
from frame.models.MVInfoMax import MVInfoMax
from frame.probability.distributions import diagonal_normal
from frame.probability.estimators import CLUB, JSD, InfoNCE, InformationEstimator
from tests import digits

X, V1, V2 = torch.rand(3, 6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
BATCH = {"x": X, "views": [V1, V2]}


class Fixed(ConditionalDistribution):
    """The same Gaussian whatever is given: mu = mean of the picture, sigma as set."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Independent:
        loc = x.flatten(1)[:, :3]
        return diagonal_normal(loc, torch.full_like(loc, self.scale) + x.flatten(1)[:, 3:6])


def networks(n_x: int = 3) -> tuple[digits.Encoder, JSD]:
    torch.manual_seed(0)
    return digits.Encoder(3, [8]), JSD(JointCritic(n_x, 3, [8]), pairs="rolled")


def test_without_a_bottleneck_mib_is_multi_view_infomax() -> None:
    encoder, estimator = networks()
    losses = []
    for model in (MIB(encoder, estimator, beta=0.0), MVInfoMax(encoder, estimator)):
        torch.manual_seed(1)
        losses.append(model(BATCH))
    assert torch.equal(losses[0]["loss"], losses[1]["loss"])
    assert torch.equal(losses[0]["information"], losses[1]["information"])


def test_skl_is_half_the_sum_of_both_divergences() -> None:
    """KL between Gaussians: log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2 for each dimension of z."""
    encoder, estimator = Fixed(0.5), networks()[1]
    q1, q2 = encoder(V1), encoder(V2)
    expected = 0.0
    for i in range(6):
        for d in range(3):
            m1, m2, s1, s2 = (float(q[i, d]) for q in (q1.mean, q2.mean, q1.stddev, q2.stddev))
            kl_12 = math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
            kl_21 = math.log(s1 / s2) + (s2**2 + (m1 - m2) ** 2) / (2 * s1**2) - 0.5
            expected += (kl_12 + kl_21) / 2 / 6
    torch.manual_seed(1)
    losses = MIB(encoder, estimator, beta=0.3)(BATCH)
    assert losses["skl"].item() == pytest.approx(expected, rel=1e-5)
    torch.manual_seed(1)
    alone = MVInfoMax(encoder, estimator)(BATCH)["loss"]
    assert losses["loss"].item() == pytest.approx(alone.item() + 0.3 * expected, rel=1e-5)


def test_two_equal_views_have_no_divergence_but_their_own_noise() -> None:
    encoder, estimator = networks()
    seen: list[Tensor] = []

    class Keeps(InformationEstimator):
        bound = "lower"

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            seen.extend([x, y])
            found: dict[str, Tensor] = estimator(x, y)
            return found

    losses = MIB(encoder, Keeps(), beta=1.0)({"x": X, "views": [X, X]})
    assert losses["skl"].item() == pytest.approx(0, abs=1e-6)
    assert not torch.equal(seen[0], seen[1])


def test_infomax_pairs_each_picture_with_its_own_code() -> None:
    encoder, estimator = networks(n_x=64)
    torch.manual_seed(1)
    losses = InfoMax(encoder, estimator)(BATCH)
    torch.manual_seed(1)
    q = encoder(X)
    z = q.mean + q.stddev * torch.randn(6, 3)
    f = estimator.critic
    expected = sum(
        math.log1p(math.exp(-f(X[i : i + 1], z[i : i + 1]).item())) / 6
        + math.log1p(math.exp(f(X[(i - 1) % 6].unsqueeze(0), z[i : i + 1]).item())) / 6
        for i in range(6)
    )
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_that_of_the_estimator() -> None:
    estimator = InfoNCE(JointCritic(64, 64, [8]))
    model = InformationEstimation(estimator)
    losses = model(BATCH)
    assert torch.equal(losses["loss"], estimator(V1, V2)["loss"])
    assert torch.equal(model.information(V1, V2), losses["information"])


@pytest.mark.parametrize("name, unit, end", [("MNIST_MIB", 15000, 1.0), ("digits_MIB", 1000, 0.03)])
def test_beta_rises_exponentially_from_a_thousandth(name: str, unit: int, end: float) -> None:
    config = compose([f"experiment={name}"])
    beta = instantiate(resolved(config.params.beta))
    assert isinstance(beta, Exponential)
    beta.bind(RunLength(tuple(limits_of(config)), {"iterations": 1.0}, ("iterations",)), "beta")
    after, over = beta.counts["after"], beta.counts["over"]
    assert (after, over) == (unit, 2 * unit)
    values = []
    for iteration in (0, after, after + over / 3, after + over / 2, after + over, 2 * (after + over)):
        beta.advance({"iterations": iteration})
        values.append(beta().item())
    factor = end / 1e-3
    assert values == pytest.approx([1e-3, 1e-3, 1e-3 * factor ** (1 / 3), 1e-3 * factor**0.5, end, end])


def test_capabilities() -> None:
    models: list[Any] = [MIB(*networks(), beta=1e-3), MVInfoMax(*networks()), InfoMax(*networks(64))]
    for model in models:
        assert isinstance(model, Encodes) and isinstance(model, HasFeatures)
        assert not isinstance(model, BoundsLikelihood)
        assert model.encode(X).mean.shape == (6, 3) and model.features(X).shape == (6, 8)
    assert models[0].needs == models[1].needs == ("views",) and models[2].needs == ("x",)


def test_errors_are_named() -> None:
    encoder, estimator = networks()
    upper = CLUB(GaussianConditional(3, 3, [8]))
    makers = (lambda e: MIB(encoder, e, 1.0), lambda e: MVInfoMax(encoder, e), lambda e: InfoMax(encoder, e))
    for make in makers:
        with pytest.raises(UserError, match="CLUB is an upper bound.*take a lower bound"):
            make(upper)
    with pytest.raises(UserError, match="beta=-1"):
        MIB(encoder, estimator, -1)
    models: list[Model] = [
        MIB(encoder, estimator, 1.0),
        MVInfoMax(encoder, estimator),
        InformationEstimation(estimator),
    ]
    for model in models:
        for views in ([V1], [V1, V2, X]):
            with pytest.raises(UserError, match=f"each batch has {len(views)}: set data.n_views=2"):
                model({"x": X, "views": views})
