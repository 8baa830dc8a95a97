"""MMD against its definition, pair by pair; the KL divergence against torch's."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from frame.common.errors import UserError
from frame.probability.distributions import diagonal_normal, independent, standard_normal
from frame.probability.divergences import Kernel, imq, kl_divergence, mmd, rbf

WIDTH = 3.0
KERNELS: list[tuple[Kernel, Callable[[float], float]]] = [
    (partial(rbf, width=WIDTH), lambda d2: math.exp(-d2 / WIDTH)),
    (partial(imq, width=WIDTH), lambda d2: WIDTH / (WIDTH + d2)),
]


def by_loop(x: Tensor, y: Tensor, k: Callable[[float], float], biased: bool) -> float:
    """Sums over pairs of rows: Gretton et al. 2012, eq. 3 and 5."""

    def mean(a: Tensor, b: Tensor, itself: bool) -> float:
        values = [
            k(sum((float(p) - float(q)) ** 2 for p, q in zip(row, other, strict=True)))
            for i, row in enumerate(a)
            for j, other in enumerate(b)
            if itself or i != j
        ]
        return sum(values) / len(values)

    return mean(x, x, biased) + mean(y, y, biased) - 2 * mean(x, y, True)


@pytest.mark.parametrize("kernel, k", KERNELS, ids=["rbf", "imq"])
@pytest.mark.parametrize("biased", [False, True])
def test_against_a_double_loop(kernel: Kernel, k: Callable[[float], float], biased: bool) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(7, 3), 0.5 + torch.randn(5, 3)  # of different sizes
    assert mmd(x, y, kernel, biased).item() == pytest.approx(by_loop(x, y, k, biased), abs=1e-6)


@pytest.mark.parametrize("kernel, k", KERNELS, ids=["rbf", "imq"])
def test_a_sample_does_not_differ_from_itself(kernel: Kernel, k: Callable[[float], float]) -> None:
    torch.manual_seed(0)
    x = torch.randn(9, 4)
    assert abs(mmd(x, x, kernel, biased=True).item()) < 1e-6
    assert mmd(x, x.flip(0), kernel).item() < 0  # x's pairs with itself are only in the third term


@pytest.mark.parametrize("kernel, k", KERNELS, ids=["rbf", "imq"])
def test_unbiased_is_zero_on_average_and_biased_is_not(kernel: Kernel, k: Callable[[float], float]) -> None:
    """Both from N(0, I): the V-statistic's mean is 2 (1 - E k(x, x')) / n above the U-statistic's."""
    torch.manual_seed(0)
    n, draws = 6, 4000
    pairs = [torch.randn(2, n, 2) for _ in range(draws)]
    unbiased = torch.stack([mmd(x, y, kernel) for x, y in pairs])
    biased = torch.stack([mmd(x, y, kernel, biased=True) for x, y in pairs])
    error = (unbiased.std() / draws**0.5).item()
    assert abs(unbiased.mean().item()) < 4 * error < 0.02
    x, y = torch.randn(2, 200000, 2)
    expected = 2 * (1 - kernel((x - y).square().sum(1)).mean().item()) / n
    assert biased.min() >= -1e-6
    assert biased.mean().item() == pytest.approx(expected, abs=4 * error)


def test_closed_form_of_two_gaussians_under_rbf() -> None:
    """E exp(-(x - y)^2 / w) for x - y ~ N(m, v) is sqrt(w / (w + 2 v)) exp(-m^2 / (w + 2 v)); here v = 2."""
    torch.manual_seed(0)
    m = 1.5
    within, between = math.sqrt(WIDTH / (WIDTH + 4)), math.sqrt(WIDTH / (WIDTH + 4)) * math.exp(-(m**2) / (WIDTH + 4))
    expected = 2 * within - 2 * between
    found = mmd(torch.randn(3000, 1), m + torch.randn(3000, 1), partial(rbf, width=WIDTH))
    assert found.item() == pytest.approx(expected, rel=0.08)


def test_one_row_has_no_unbiased_estimate() -> None:
    with pytest.raises(UserError, match="two or more rows"):
        mmd(torch.zeros(1, 2), torch.zeros(5, 2), partial(rbf, width=1.0))
    assert mmd(torch.zeros(1, 2), torch.zeros(5, 2), partial(rbf, width=1.0), biased=True).item() == 0


@pytest.mark.parametrize("standard", [True, False])
@pytest.mark.parametrize("rows", [(), (6,)])
def test_kl_of_normals_is_torchs(standard: bool, rows: tuple[int, ...]) -> None:
    if standard:
        p: Independent = standard_normal(torch.zeros(4), torch.ones(4))
    else:
        p = diagonal_normal(torch.randn(*rows, 4), torch.rand(*rows, 4) + 0.1)
    loc, scale = torch.randn(6, 4, requires_grad=True), (torch.rand(6, 4) + 0.01).requires_grad_()
    q = diagonal_normal(loc, scale)
    found = kl_divergence(q, p, q.sample())
    plain = (Independent(Normal(one.base_dist.loc, one.base_dist.scale), 1) for one in (q, p))
    expected = torch.distributions.kl_divergence(*plain)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.distributions.kl_divergence(q, p), found)
    for mine, theirs in zip(
        torch.autograd.grad(found.sum(), (loc, scale)), torch.autograd.grad(expected.sum(), (loc, scale)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_kl_of_a_normal_with_itself_is_nothing() -> None:
    q = diagonal_normal(torch.randn(100, 64), torch.rand(100, 64) + 0.01)
    torch.testing.assert_close(kl_divergence(q, q, q.sample()), torch.zeros(100), rtol=0, atol=1e-5)
    standard = standard_normal(torch.zeros(64), torch.ones(64))
    assert kl_divergence(standard, standard, standard.sample()) == 0


def test_kl_of_normals_with_different_events_is_refused() -> None:
    q = diagonal_normal(torch.zeros(2, 3), torch.ones(2, 3))
    p = independent(Normal(torch.zeros(2, 3), torch.ones(2, 3)), 2)
    with pytest.raises(ValueError, match="events"):
        kl_divergence(q, p, q.sample())
