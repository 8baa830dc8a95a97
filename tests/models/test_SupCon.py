"""SupCon against a triple loop, its limits, and SimCLR with one row of each class."""

import math

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.models.SimCLR import nt_xent
from frame.models.SupCon import SupCon, supcon
from tests.joint import Flat, Same, views


def by_loops(z1: Tensor, z2: Tensor, y: Tensor, temperature: float) -> float:
    z, classes, total = torch.cat([z1, z2]).double(), torch.cat([y, y]), 0.0
    n = len(z)
    for i in range(n):
        s = [float(z[i] @ z[a] / z[i].norm() / z[a].norm()) / temperature for a in range(n)]
        others = sum(math.exp(s[a]) for a in range(n) if a != i)
        same = [p for p in range(n) if p != i and classes[p] == classes[i]]
        total -= sum(math.log(math.exp(s[p]) / others) for p in same) / len(same)
    return total / n


def test_the_loss_is_that_of_a_triple_loop() -> None:
    z1, z2 = views(6, 3)
    y = torch.tensor([0, 1, 0, 2, 1, 0])
    found = SupCon(Flat(3), Same(3), 0.3)({"views": [z1, z2], "y": y})["loss"]
    assert found.item() == pytest.approx(by_loops(z1, z2, y, 0.3), rel=1e-5)


def test_with_one_row_of_each_class_it_is_nt_xent() -> None:
    z1, z2 = views(6, 3)
    torch.testing.assert_close(supcon(z1, z2, torch.arange(6), 0.3), nt_xent(z1, z2, 0.3))


def test_equal_embeddings_cost_log_of_the_others() -> None:
    z = torch.ones(6, 3)
    assert supcon(z, z, torch.tensor([0, 1, 0, 2, 1, 0]), 0.1).item() == pytest.approx(math.log(11), rel=1e-5)


def test_separated_classes_cost_log_of_their_positives() -> None:
    """Each view shares its class with 3 others, which are equal to it; the other class is opposite."""
    z = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    assert supcon(z, z, torch.tensor([0, 0, 1, 1]), 0.05).item() == pytest.approx(math.log(3), rel=1e-5)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="temperature=0: it must be above 0"):
        SupCon(Flat(3), Same(3), 0.0)
    with pytest.raises(UserError, match="takes two views, and each batch has 1"):
        SupCon(Flat(3), Same(3), 0.1)({"views": views(4, 3, 1), "y": torch.arange(4)})
