"""BYOL: 2 - 2 cos for each direction, and who moves what."""

import math

import pytest
import torch
from torch import nn

from frame.common.errors import UserError
from frame.models.BYOL import BYOL
from tests.joint import Flat, Same, networks, views


def test_the_loss_is_the_squared_distance_of_directions() -> None:
    z1, z2 = views(5, 3)
    predictor = nn.Linear(3, 3)
    expected = 0.0
    for one, other in ((z1, z2), (z2, z1)):
        for i in range(5):
            q = predictor(one[i]).detach().double()
            t = other[i].double()
            cos = float(q @ t) / math.sqrt(float(q @ q)) / math.sqrt(float(t @ t))
            assert (q / q.norm() - t / t.norm()).square().sum().item() == pytest.approx(2 - 2 * cos)
            expected += (2 - 2 * cos) / 5
    found = BYOL(Flat(3), Same(3), predictor, 0.9)({"views": [z1, z2]})["loss"]
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_equal_and_opposite_predictions_cost_0_and_8() -> None:
    z = views(5, 3)[0]
    model = BYOL(Flat(3), Same(3), nn.Identity(), 0.9)
    assert model({"views": [z, 2 * z]})["loss"].item() == pytest.approx(0, abs=1e-5)
    assert model({"views": [z, -z]})["loss"].item() == pytest.approx(8, rel=1e-5)


def test_a_decay_of_1_keeps_the_teacher_and_of_0_copies_the_student() -> None:
    for decay in (0.0, 1.0):
        model = BYOL(*networks(), nn.Linear(4, 4), decay)
        before = model.teacher.encoder.backbone.hidden[0].weight.clone()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        model.after_update(1)
        now = model.teacher.encoder.backbone.hidden[0].weight
        torch.testing.assert_close(now, before + (1 - decay))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"decay=1.1: it must lie in \[0, 1\]"):
        BYOL(Flat(3), Same(3), nn.Identity(), 1.1)
    with pytest.raises(UserError, match="takes two views, and each batch has 1"):
        BYOL(Flat(3), Same(3), nn.Identity(), 0.9)({"views": views(4, 3, 1)})
