"""SimSiam: its loss by hand, and where the gradient stops."""

import math

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.models.SimSiam import SimSiam
from tests.joint import Flat, Same, networks, views


def cos(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def test_the_loss_is_that_of_a_loop() -> None:
    z1, z2 = views(5, 3)
    predictor = nn.Linear(3, 3)
    q1, q2 = predictor(z1).detach(), predictor(z2).detach()
    expected = sum(-cos(q1[i], z2[i]) / 2 - cos(q2[i], z1[i]) / 2 for i in range(5)) / 5
    found = SimSiam(Flat(3), Same(3), predictor)({"views": [z1, z2]})
    assert found["loss"].item() == pytest.approx(expected, rel=1e-5)
    directions = [z1[i] / z1[i].norm() for i in range(5)]
    each = [torch.stack([row[j] for row in directions]).std() for j in range(3)]
    assert found["spread"].item() == pytest.approx(float(sum(each) / 3 * math.sqrt(3)), rel=1e-5)


def test_a_collapse_is_minus_one_with_a_spread_of_0() -> None:
    z = torch.tensor([1.0, 2.0, 3.0]).expand(4, 3)
    found = SimSiam(Flat(3), Same(3), nn.Identity())({"views": [z, z]})
    assert found["loss"].item() == pytest.approx(-1) and found["spread"].item() == pytest.approx(0, abs=1e-6)


def test_the_gradient_goes_through_predictions_alone() -> None:
    """It is the gradient of -cos(q(z), target) / 2 for targets that are constants."""
    encoder, projector = networks(batch_norm=False)
    predictor = nn.Linear(4, 4)
    model = SimSiam(encoder, projector, predictor)
    v1, v2 = views(6, 5)
    model({"views": [v1, v2]})["loss"].backward()
    ours = [parameter.grad for parameter in model.parameters()]
    z1, z2 = model.embed(v1), model.embed(v2)
    t1, t2 = z1.detach().clone(), z2.detach().clone()
    cosine = nn.CosineSimilarity()
    loss = -(cosine(predictor(z1), t2) + cosine(predictor(z2), t1)).mean() / 2
    theirs = torch.autograd.grad(loss, [*model.parameters()])
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="takes two views, and each batch has 1"):
        SimSiam(Flat(3), Same(3), nn.Identity())({"views": views(4, 3, 1)})
