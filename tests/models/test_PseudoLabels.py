"""Pseudo-labels: the loss by hand, and no gradient of the target."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from frame.common.errors import UserError
from frame.models.base import ConditionalDistribution
from frame.models.Classifier import Classifier
from frame.models.PseudoLabels import PseudoLabels
from frame.probability.distributions import Delta
from tests import digits


class Same(ConditionalDistribution):
    """All mass at x."""

    def forward(self, x: Tensor) -> Delta:
        return Delta(x)


class Logits(ConditionalDistribution):
    """A Categorical of scaled logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, z: Tensor) -> Categorical:
        return Categorical(logits=self.scale * z)


def logits(*rows: list[float]) -> Tensor:
    """Rows of probabilities as logits."""
    return torch.tensor(rows).log()


def test_the_loss_by_hand() -> None:
    batch = {
        "x": logits([0.5, 0.25, 0.25], [0.2, 0.2, 0.6]),
        "y": torch.tensor([1, 2]),
        "unlabelled": {"x": logits([0.1, 0.7, 0.2], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8])},
    }
    found = PseudoLabels(Same(), Logits(), alpha=0.3)(batch)
    supervised = -(math.log(0.25) + math.log(0.6)) / 2
    pseudo = -(math.log(0.7) + math.log(0.4) + math.log(0.8)) / 3
    assert found["cross_entropy"].item() == pytest.approx(supervised)
    assert found["pseudo"].item() == pytest.approx(pseudo)
    assert found["loss"].item() == pytest.approx(supervised + 0.3 * pseudo)


def test_without_weight_it_is_the_classifier_s_gradient() -> None:
    torch.manual_seed(0)
    encoder, predictor = digits.Encoder(3, [8]), digits.Predictor(3)
    batch = {"x": torch.rand(6, 1, 8, 8), "y": torch.arange(6), "unlabelled": {"x": torch.rand(9, 1, 8, 8)}}
    gradients = []
    for model in (PseudoLabels(encoder, predictor, 0.0), Classifier(encoder, predictor)):
        model.zero_grad()
        model(batch)["loss"].backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for mine, its in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, its)


def test_the_target_has_no_gradient() -> None:
    """The slope in the scale s of the logits is that of -log softmax(s l)[argmax], which is E[l] - l_max at s = 1."""
    u = logits([0.1, 0.7, 0.2])
    model = PseudoLabels(Same(), Logits(), alpha=1.0)
    model({"x": u, "y": torch.tensor([0]), "unlabelled": {"x": u}})["pseudo"].backward()
    expected = (u.exp() * u).sum() - u[0, 1]
    torch.testing.assert_close(model.predictor.scale.grad, expected)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="alpha=-1"):
        PseudoLabels(Same(), Logits(), -1)
    with pytest.raises(UserError, match="z_dim differs"):
        PseudoLabels(digits.Encoder(3, [8]), digits.Predictor(2), 1)
