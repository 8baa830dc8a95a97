"""The geometry of codes and the similarity of two encoders: slow loops, closed forms, invariances."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError
from frame.measures import geometry
from frame.measures.geometry import alignment, dead_units, directional_spread, effective_rank, rankme, uniformity
from frame.measures.similarity import cka, mutual_knn
from tests.reference import similarity as reference


def noise(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(d: int, seed: int = 3) -> Tensor:
    return torch.linalg.qr(noise(d, d, seed)).Q


def test_alignment_and_uniformity_are_their_definitions() -> None:
    x, y = noise(7, 3), noise(7, 3, 1)
    unit_x = [row / math.sqrt(sum(v * v for v in row)) for row in x.numpy()]
    unit_y = [row / math.sqrt(sum(v * v for v in row)) for row in y.numpy()]
    slow = sum(float(((a - b) ** 2).sum()) for a, b in zip(unit_x, unit_y, strict=True)) / 7
    assert alignment(x, y) == pytest.approx(slow, rel=1e-9)
    pairs = [math.exp(-2 * float(((unit_x[i] - unit_x[j]) ** 2).sum())) for i in range(7) for j in range(7) if i != j]
    assert uniformity(x) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-9)


def test_ends_of_their_scales() -> None:
    x = noise(50, 4)
    assert alignment(x, 3 * x) == pytest.approx(0, abs=1e-12) and alignment(x, -x) == pytest.approx(4)
    assert uniformity(torch.ones(20, 3)) == pytest.approx(0, abs=1e-12)
    # two opposite points: n of the 2n - 1 others are at squared distance 4
    opposite = torch.tensor([[1.0, 0.0]] * 10 + [[-1.0, 0.0]] * 10)
    assert uniformity(opposite) == pytest.approx(math.log((9 + 10 * math.exp(-8)) / 19))
    assert uniformity(noise(3000, 512)) == pytest.approx(-4, abs=0.05)
    assert uniformity(noise(3000, 2)) > uniformity(noise(3000, 16))


def test_uniformity_in_blocks_is_uniformity(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(100, 5)
    whole = uniformity(x)
    monkeypatch.setattr("frame.measures.geometry.ROWS", 7)
    assert uniformity(x) == pytest.approx(whole, rel=1e-12)


def test_ranks_of_known_spectra() -> None:
    """Orthogonal columns of chosen lengths have these singular values."""
    columns = torch.linalg.qr(torch.cat([torch.ones(400, 1), noise(400, 5)], 1)).Q[:, 1:]  # centred, orthonormal
    assert rankme(columns) == pytest.approx(5, rel=1e-4) and effective_rank(columns) == pytest.approx(5)
    lengths = torch.tensor([4.0, 2.0, 1.0, 1.0, 0.0])
    p = lengths / lengths.sum()
    assert rankme(columns * lengths) == pytest.approx(math.exp(torch.special.entr(p).sum()), rel=1e-4)
    p = lengths**2 / (lengths**2).sum()
    assert effective_rank(columns * lengths) == pytest.approx(math.exp(torch.special.entr(p).sum()), rel=1e-4)
    shifted = columns + 100
    assert effective_rank(shifted) == pytest.approx(5, rel=1e-6) and rankme(shifted) < 1.2
    one_direction = noise(100, 1) @ noise(1, 8)
    assert effective_rank(one_direction) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
def test_the_exponent_of_a_power_law_is_found(alpha: float) -> None:
    """Codes whose covariance has exactly the eigenvalues j^-alpha."""
    n, size = 200, 20
    x = noise(n, size)
    centred = torch.linalg.qr(x - x.mean(0)).Q  # orthonormal columns of mean 0
    z = centred * torch.arange(1, size + 1).double() ** (-alpha / 2)
    assert geometry.alpha_req(z + 3) == pytest.approx(alpha, rel=1e-9)
    assert geometry.alpha_req(z @ rotation(size)) == pytest.approx(alpha, rel=1e-9)
    with pytest.raises(NoNumber, match="power law"):
        geometry.alpha_req(z[:, :1])


def test_lidar_is_its_definition() -> None:
    """By loops over pictures and views; and as many directions as separate the pictures."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(30, 1, 6, dtype=torch.float64, generator=generator).expand(-1, 8, -1)
    z = z + 0.3 * torch.randn(30, 8, 6, dtype=torch.float64, generator=generator)
    means = [views.mean(0) for views in z]
    centre = torch.stack(means).mean(0)
    between = sum((torch.outer(m - centre, m - centre) for m in means), torch.zeros(6, 6)) / 29
    spread = [torch.outer(v - m, v - m) for views, m in zip(z, means, strict=True) for v in views]
    within = torch.stack(spread).sum(0) / (30 * 7)
    values, vectors = torch.linalg.eigh(within + 1e-4 * torch.eye(6))
    root = vectors @ torch.diag(values**-0.5) @ vectors.T
    spectrum = torch.linalg.eigvalsh(root @ between @ root)
    p = spectrum / spectrum.sum() + 1e-7
    assert geometry.lidar(z) == pytest.approx((-(p * p.log()).sum()).exp().item(), rel=1e-9)
    flat = torch.zeros(500, 4, 5, dtype=torch.float64)
    flat[:, :, :2] = torch.randn(500, 1, 2, dtype=torch.float64, generator=generator)
    assert geometry.lidar(flat) == pytest.approx(2, abs=0.02)
    with pytest.raises(NoNumber, match="same code"):
        geometry.lidar(torch.ones(5, 3, 2))
    with pytest.raises(UserError, match="2 or more views"):
        geometry.lidar(torch.rand(5, 1, 2))


def test_dead_units_are_counted() -> None:
    assert dead_units(noise(500, 6) * torch.tensor([1.0, 1.0, 0.5, 0.0, 1e-3, 1.0])) == 2


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_is_the_reference_with_kernels(debiased: bool) -> None:
    x = noise(30, 4)
    y = x @ noise(4, 6, 1) + 0.5 * noise(30, 6, 2)
    assert cka(x, y, debiased) == pytest.approx(reference.cka(x.numpy(), y.numpy(), debiased), abs=1e-9)


def test_cka_is_invariant_to_rotations_shifts_and_scales() -> None:
    x = noise(300, 8)
    for debiased in (True, False):
        assert cka(x, 3 * x @ rotation(8) + 5, debiased) == pytest.approx(1, abs=1e-9)


def test_independent_codes_have_no_debiased_cka() -> None:
    n, d = 500, 100
    x, y = noise(n, d), noise(n, d, 1)
    assert cka(x, y, debiased=False) == pytest.approx(d / (n + d), abs=0.02)
    assert abs(cka(x, y)) < 0.02


def test_mutual_neighbours() -> None:
    x = noise(200, 6)
    assert mutual_knn(x, 2 * x @ rotation(6)) == 1
    assert mutual_knn(x, noise(200, 6, 1)) == pytest.approx(10 / 199, abs=0.02)
    y = x + 0.3 * noise(200, 6, 2)
    assert mutual_knn(x, y, 5) == pytest.approx(reference.mutual_knn(x.numpy(), y.numpy(), 5), abs=1e-9)


@pytest.mark.parametrize("measure", [uniformity, rankme, effective_rank, dead_units])
def test_bad_codes_are_an_error_of_one_line(measure: Callable[[Tensor], float]) -> None:
    with pytest.raises(UserError, match="NaN"):
        measure(torch.full((5, 2), math.nan))
    with pytest.raises(UserError, match=r"give rows of codes"):
        measure(torch.zeros(5))


def test_bad_pairs_and_collapsed_codes() -> None:
    x = noise(20, 3)
    with pytest.raises(UserError, match="0: the encoder is dead"):
        rankme(torch.zeros(5, 3))
    with pytest.raises(UserError, match="collapsed"):
        effective_rank(torch.ones(5, 3))
    with pytest.raises(UserError, match="collapsed"):
        cka(x, torch.ones(20, 3))
    with pytest.raises(UserError, match="same rows"):
        cka(x, x[:10])
    with pytest.raises(TooFew):
        mutual_knn(x[:5], x[:5])
    with pytest.raises(UserError, match="both views"):
        alignment(x, x[:3])


def test_arrays_of_numpy_are_accepted() -> None:
    assert np.isfinite(rankme(torch.from_numpy(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))))


def test_the_spread_of_directions_is_1_everywhere_and_0_in_one_direction() -> None:
    codes = torch.randn(5000, 20, generator=torch.Generator().manual_seed(0))
    assert directional_spread(codes).item() == pytest.approx(1, abs=0.01)
    assert directional_spread(codes.abs() * 0 + 3).item() == pytest.approx(0, abs=1e-6)
    assert directional_spread(7 * codes + 100) < 0.1
