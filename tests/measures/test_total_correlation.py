"""Gaussian total correlation against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.measures.total_correlation import gaussian_total_correlation


def normals(n: int, n_dims: int, seed: int = 0) -> Tensor:
    return torch.randn(n, n_dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_dimensions_by_their_correlation() -> None:
    """TC = -1/2 log(1 - r^2), for the correlation r of these codes."""
    z = normals(500, 2) @ torch.tensor([[1.0, 0.7], [0.0, 2.0]], dtype=torch.float64)
    r = float(torch.corrcoef(z.T)[0, 1])
    assert gaussian_total_correlation(z)[0] == pytest.approx(-0.5 * math.log(1 - r * r), rel=1e-12)


def test_it_is_the_formula_on_any_covariance() -> None:
    z = normals(400, 5) @ normals(5, 5, seed=1)
    covariance = torch.cov(z.T)
    expected = 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance))
    assert gaussian_total_correlation(z)[0] == pytest.approx(expected.item(), rel=1e-10)


def test_independent_codes_have_almost_none() -> None:
    """D (D - 1) / 4N on average: twice the sum of D (D - 1) / 2 squared correlations of variance 1/N, by 1/4."""
    found = [gaussian_total_correlation(normals(2000, 10, seed))[0] for seed in range(40)]
    assert sum(found) / 40 == pytest.approx(90 / 8000, rel=0.1) and min(found) > 0


def test_the_error_is_the_spread_over_samples_of_codes() -> None:
    mix = torch.tensor([[1.0, 0.6, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    found = [gaussian_total_correlation(normals(1000, 3, seed) @ mix) for seed in range(200)]
    values, errors = torch.tensor(found, dtype=torch.float64).T
    assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.2)


def test_scales_shifts_and_orders_do_not_matter_and_rotations_do() -> None:
    z = normals(1000, 4) @ normals(4, 4, seed=1)
    tc, error = gaussian_total_correlation(z)
    moved = z * torch.tensor([1e-4, 3.0, -1e4, 1.0]) + torch.tensor([1e3, 0.0, -5.0, 2.0])
    assert gaussian_total_correlation(moved[:, [2, 0, 3, 1]])[0] == pytest.approx(tc, rel=1e-6)
    # rotated onto the principal axes, it is 0
    axes = torch.linalg.eigh(torch.cov(z.T)).eigenvectors
    assert gaussian_total_correlation(z @ axes)[0] == pytest.approx(0, abs=1e-9)
    # rotated by 45 degrees, independent codes of different variance are dependent
    spread = normals(1000, 2) * torch.tensor([1.0, 5.0])
    turn = torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64) / math.sqrt(2)
    assert gaussian_total_correlation(spread @ turn)[0] > 0.5 > 0.1 > gaussian_total_correlation(spread)[0]


def test_float32_codes_keep_their_precision() -> None:
    z = normals(2000, 3) @ normals(3, 3, seed=1) + 100
    tc = gaussian_total_correlation(z)[0]
    assert gaussian_total_correlation(z.float())[0] == pytest.approx(tc, rel=1e-4)


def test_one_dimension_has_none() -> None:
    assert gaussian_total_correlation(normals(10, 1)) == (pytest.approx(0), pytest.approx(0))


def test_codes_without_a_covariance_are_refused() -> None:
    z = normals(50, 3)
    for value in (math.nan, math.inf):
        broken = z.clone()
        broken[3, 1] = value
        with pytest.raises(UserError, match="NaN or infinite"):
            gaussian_total_correlation(broken)
    with pytest.raises(UserError, match="dimension 1 of the codes is constant"):
        gaussian_total_correlation(z * torch.tensor([1.0, 0.0, 1.0]) + 0.1)
    for again in (z[:, :1], -2 * z[:, :1] + 1):
        with pytest.raises(UserError, match="combination of the others"):
            gaussian_total_correlation(torch.cat([z, again], 1))
    with pytest.raises(UserError, match="3 codes of 3 dimensions"):
        gaussian_total_correlation(z[:3])
    with pytest.raises(UserError, match=r"shape \[50\]"):
        gaussian_total_correlation(z[:, 0])
