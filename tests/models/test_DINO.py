"""DINO: its loss against a loop, centring, sharpening, and normalised prototypes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.models.DINO import DINO, Prototypes
from tests.joint import Flat, Same, networks, views


def plain(**options: Any) -> DINO:
    torch.manual_seed(0)
    defaults = {"n_prototypes": 4, "temperature": 0.1, "teacher_temperature": 0.05, "decay": 0.9}
    return DINO(Flat(3), Same(3), **{**defaults, **options})


def softmax(s: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in s)
    return [math.exp(value) / total for value in s]


def test_the_loss_is_that_of_a_loop() -> None:
    model = plain()
    model.centre.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
    v, w, expected = views(5, 3), model.prototypes.weight.detach().double(), 0.0

    def scores(row: Tensor) -> list[float]:
        row = row.double()
        return [float(row @ w[k] / row.norm() / w[k].norm()) for k in range(4)]

    for i in range(5):
        for one, other in ((0, 1), (1, 0)):
            c = [float(value) for value in model.centre]
            teacher = softmax([(s - c[k]) / 0.05 for k, s in enumerate(scores(v[one][i]))])
            student = softmax([s / 0.1 for s in scores(v[other][i])])
            expected -= sum(teacher[k] * math.log(student[k]) for k in range(4)) / 2 / 5
    assert model({"views": v})["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_the_centre_is_a_moving_average_in_training_alone() -> None:
    model, pair = plain(centre_decay=0.75), views(5, 3)
    mean = model.teacher.embed(torch.cat(pair)).mean(0)
    model.eval()
    model({"views": pair})
    assert not model.centre.any()
    model.train()
    model({"views": pair})
    torch.testing.assert_close(model.centre, 0.25 * mean)
    model({"views": pair})
    torch.testing.assert_close(model.centre, (0.75 * 0.25 + 0.25) * mean)


def test_centring_spreads_what_all_rows_share_and_sharpening_decides() -> None:
    z = torch.tensor([[1.0, 2.0, 3.0]]).expand(4, 3)  # a collapse
    model = plain()
    assert model({"views": [z, z]})["entropy"] < 0.9 * math.log(4)
    model.centre.copy_(model.teacher.embed(z)[0])
    found = model({"views": [z, z]})  # the centre takes away all that the rows share: the uniform choice
    assert found["entropy"].item() == pytest.approx(math.log(4), rel=1e-4)
    entropies = [plain(teacher_temperature=t)({"views": views(5, 3)})["entropy"].item() for t in (1.0, 0.1, 0.01)]
    assert entropies[0] > entropies[1] > entropies[2]


def test_scores_are_cosines_whatever_the_lengths() -> None:
    prototypes, z = Prototypes(3, 4), torch.randn(5, 3)
    first = prototypes(z)
    assert first.abs().max() <= 1
    with torch.no_grad():
        prototypes.weight.mul_(torch.rand(4, 1) + 0.5)
    torch.testing.assert_close(prototypes(7 * z), first)


def test_prototypes_of_the_teacher_follow() -> None:
    encoder, projector = networks()
    model = DINO(encoder, projector, 4, 0.1, 0.05, 0.75)
    before = model.teacher.projector[1].weight.clone()
    with torch.no_grad():
        model.prototypes.weight.add_(1.0)
    model.after_update(1)
    torch.testing.assert_close(model.teacher.projector[1].weight, before + 0.25)
    assert {name for name, _ in model.named_parameters()} == {
        *(f"encoder.{name}" for name, _ in encoder.named_parameters()),
        *(f"projector.{name}" for name, _ in projector.named_parameters()),
        "prototypes.weight",
    }


def test_values_out_of_range_are_refused() -> None:
    for options, message in (
        ({"n_prototypes": 1}, "n_prototypes=1: it must be at least 2"),
        ({"temperature": 0.0}, "^temperature=0: it must be above 0"),
        ({"teacher_temperature": -1.0}, "teacher_temperature=-1: it must be at least 0"),
        ({"decay": 2.0}, r"decay=2: it must lie in \[0, 1\]"),
        ({"centre_decay": 2.0}, r"centre_decay=2.0: it must lie in \[0, 1\]"),
    ):
        with pytest.raises(UserError, match=message):
            plain(**options)
    with pytest.raises(UserError, match="Identity has no z_dim"):
        DINO(Flat(3), nn.Identity(), 4, 0.1, 0.05, 0.9)
    with pytest.raises(UserError, match="takes two views, and each batch has 1"):
        plain()({"views": views(4, 3, 1)})
