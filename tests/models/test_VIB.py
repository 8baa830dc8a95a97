"""VIB and the plain classifier: limits in which they agree."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent

from frame.architectures.base import DiagonalNormal
from frame.common.errors import UserError
from frame.evaluation.base import BoundsLikelihood, Encodes, Predicts
from frame.models.base import ConditionalDistribution
from frame.models.Classifier import Classifier
from frame.models.VIB import VIB
from frame.probability.distributions import diagonal_normal
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), "y": torch.arange(6)}


class Noiseless(ConditionalDistribution):
    """The encoder's means with almost no noise."""

    def __init__(self, encoder: ConditionalDistribution) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Independent:
        mean = self.encoder(x).mean
        return diagonal_normal(mean, torch.full_like(mean, 1e-9))


def networks() -> tuple[digits.Encoder, digits.Predictor]:
    torch.manual_seed(0)
    return digits.Encoder(3, [8]), digits.Predictor(3)


def test_without_noise_and_bottleneck_it_is_the_classifier() -> None:
    encoder, predictor = networks()
    vib = VIB(Noiseless(encoder), predictor, DiagonalNormal(3), beta=0.0, n_samples=3, n_samples_predict=2)
    classifier = Classifier(encoder, predictor)
    torch.testing.assert_close(vib(BATCH)["loss"], classifier(BATCH)["loss"])
    torch.testing.assert_close(vib.predict(BATCH["x"]), classifier.predict(BATCH["x"]))


def test_cross_entropy_is_minus_the_log_softmax_at_the_label() -> None:
    encoder, predictor = networks()
    log_p = Classifier(encoder, predictor).predict(BATCH["x"])
    loss = Classifier(encoder, predictor)(BATCH)["loss"]
    torch.testing.assert_close(loss, -log_p[torch.arange(6), BATCH["y"]].mean())
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(6))


def test_loss_adds_beta_times_the_closed_form_of_the_rate() -> None:
    encoder, predictor = networks()
    losses = VIB(encoder, predictor, DiagonalNormal(3), beta=0.2, n_samples=4)(BATCH)
    q = encoder(BATCH["x"])
    rate = ((q.mean**2 + q.stddev**2 - 1) / 2 - q.stddev.log()).sum(1).mean()
    torch.testing.assert_close(losses["rate"], rate)
    torch.testing.assert_close(losses["loss"], losses["cross_entropy"] + 0.2 * rate)


def test_samples_of_one_picture_differ_and_their_losses_are_averaged() -> None:
    """The loss of S samples varies about sqrt(S) times less than that of one."""
    encoder, predictor = networks()
    spread = {}
    for n in (1, 16):
        model = VIB(encoder, predictor, DiagonalNormal(3), beta=0.0, n_samples=n)
        spread[n] = torch.stack([model(BATCH)["loss"].detach() for _ in range(300)]).std().item()
    assert spread[1] / spread[16] == pytest.approx(4, rel=0.3)


def test_predict_averages_probabilities_and_not_their_logarithms() -> None:
    encoder, predictor = networks()
    model = VIB(encoder, predictor, DiagonalNormal(3), beta=0.0, n_samples_predict=5)
    torch.manual_seed(3)
    log_p = model.predict(BATCH["x"])
    torch.manual_seed(3)
    q = encoder(BATCH["x"])
    total = torch.zeros(6, 10)
    for _ in range(5):  # the slow way
        total += predictor(q.mean + q.stddev * torch.randn(6, 3)).probs
    torch.testing.assert_close(log_p, (total / 5).log())


def test_capabilities() -> None:
    encoder, predictor = networks()
    for model in (VIB(encoder, predictor, DiagonalNormal(3), 1e-3), Classifier(encoder, predictor)):
        assert isinstance(model, Encodes) and isinstance(model, Predicts)
        assert not isinstance(model, BoundsLikelihood)
        assert model.needs == ("x", "y")


def test_errors_are_named() -> None:
    encoder, predictor = networks()
    with pytest.raises(UserError, match="beta=-1"):
        VIB(encoder, predictor, DiagonalNormal(3), -1)
    with pytest.raises(UserError, match="n_samples=0: it must be at least 1"):
        VIB(encoder, predictor, DiagonalNormal(3), 1, n_samples=0)
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 3, predictor 4\)"):
        Classifier(encoder, digits.Predictor(4))
