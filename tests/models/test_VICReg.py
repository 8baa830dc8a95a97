"""The three terms of VICReg by hand, and where they are 0."""

import math

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.models.VICReg import VICReg, hinge, off_diagonal
from tests.joint import Flat, Same, views


def model(**weights: float) -> VICReg:
    weights = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0, **weights}
    return VICReg(Flat(3), Same(3), **weights)


def by_hand(z1: Tensor, z2: Tensor, eps: float) -> tuple[float, float, float]:
    """s, v(Z) + v(Z') and c(Z) + c(Z') with a target of 1, in loops over rows and dimensions."""
    n, d = z1.shape
    s = sum(float((z1[i, j] - z2[i, j]) ** 2) for i in range(n) for j in range(d)) / (n * d)
    v = c = 0.0
    for z in (z1.double(), z2.double()):
        mean = [sum(z[i, j] for i in range(n)) / n for j in range(d)]
        for j in range(d):
            for k in range(d):
                cov = sum((z[i, j] - mean[j]) * (z[i, k] - mean[k]) for i in range(n)) / (n - 1)
                if j == k:
                    v += max(0.0, 1 - math.sqrt(cov + eps)) / d
                else:
                    c += float(cov**2) / d
    return s, v, c


def test_the_three_terms_are_those_of_a_loop() -> None:
    z1, z2 = views(6, 3)
    z1, z2 = 0.5 * z1, 0.4 * z2  # standard deviations below 1
    s, v, c = by_hand(z1, z2, 1e-4)
    found = model()({"views": [z1, z2]})
    assert v > 0
    for name, value in {"invariance": s, "variance": v, "covariance": c, "loss": 25 * s + 25 * v + c}.items():
        assert found[name].item() == pytest.approx(value, rel=1e-5), name


def test_spread_uncorrelated_equal_embeddings_cost_nothing() -> None:
    z = 2 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert model()({"views": [z, z]})["loss"].item() == pytest.approx(0, abs=1e-6)


def test_a_collapse_costs_the_whole_target_and_its_gradient_is_finite() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    found = hinge(z, 1.0, 1e-4)
    assert found.item() == pytest.approx(1 - 1e-2, rel=1e-4) and off_diagonal(z).item() == 0
    found.backward()
    assert z.grad is not None and z.grad.isfinite().all()


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="covariance=-1: it must be at least 0"):
        model(covariance=-1.0)
    with pytest.raises(UserError, match="target=-1"):
        VICReg(Flat(3), Same(3), 25.0, 25.0, 1.0, target=-1.0)
    with pytest.raises(UserError, match=r"takes two views, and each batch has 1: set data.n_views=2"):
        model()({"views": views(4, 3, 1)})
