"""Barlow Twins at the identity, at its opposite, and against a loop."""

import math

import pytest
import torch

from frame.common.errors import UserError
from frame.models.BarlowTwins import BarlowTwins, cross_correlation
from tests.joint import Flat, Same, views

ORTHOGONAL = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])  # centred columns, uncorrelated


def model(redundancy: float = 5e-3) -> BarlowTwins:
    return BarlowTwins(Flat(3), Same(3), redundancy)


def test_uncorrelated_equal_embeddings_cost_nothing() -> None:
    z = 3 * ORTHOGONAL + 7  # neither scale nor mean matters
    torch.testing.assert_close(cross_correlation(z, z), torch.eye(3), rtol=0, atol=1e-4)
    assert model()({"views": [z, z]})["loss"].item() == pytest.approx(0, abs=1e-6)


def test_opposite_and_redundant_embeddings_cost_what_the_paper_says() -> None:
    assert model()({"views": [ORTHOGONAL, -ORTHOGONAL]})["loss"].item() == pytest.approx(3 * 2**2, rel=1e-4)
    same = ORTHOGONAL[:, :1].expand(4, 3)  # all correlations are 1: 6 pairs of different dimensions
    assert model(0.1)({"views": [same, same]})["loss"].item() == pytest.approx(0.1 * 6, rel=1e-4)


def test_the_loss_is_that_of_a_loop() -> None:
    z1, z2 = views(6, 3)
    expected = 0.0
    a, b = ((z - z.mean(0)).double() for z in (z1, z2))
    for i in range(3):
        for j in range(3):
            norms = math.sqrt(sum(float(x) ** 2 for x in a[:, i])) * math.sqrt(sum(float(x) ** 2 for x in b[:, j]))
            c = sum(float(a[n, i] * b[n, j]) for n in range(6)) / norms
            expected += (1 - c) ** 2 if i == j else 0.25 * c**2
    found = model(0.25)({"views": [z1, z2]})
    assert found["loss"].item() == pytest.approx(expected, rel=1e-4)
    assert found["loss"].item() == pytest.approx((found["invariance"] + 0.25 * found["redundancy"]).item(), rel=1e-6)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="redundancy=-1: it must be at least 0"):
        model(-1.0)
    with pytest.raises(UserError, match="takes two views, and each batch has 3"):
        model()({"views": views(4, 3, 3)})
