"""Measures of factors: against slow references, and on codes with known answers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from frame.common.errors import TooFew, UserError
from frame.measures import factors as measures
from frame.measures.factor_scores import beta_vae_score, factor_vae_score, rows_in_common
from tests.reference import factors as reference

SIZES = (3, 6, 40, 32, 32)  # dSprites'


def drawn(n: int, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, size, (n,), generator=generator) for size in sizes], 1)


def noise(n: int, d: int, seed: int = 1) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def perfect(factors: Tensor) -> Tensor:
    """One code per factor, exactly its value, and as many codes of noise."""
    return torch.cat([factors.float(), noise(len(factors), factors.shape[1])], 1)


def entangled(n: int = 300) -> tuple[Tensor, Tensor]:
    """Codes that mix factors, with noise: no measure is at an end of its scale."""
    factors = drawn(n, (2, 3, 5))
    mix = torch.tensor([[1.0, 0.3, 0.0, 0.2], [0.1, 1.0, 0.0, 0.4], [0.0, 0.2, 1.0, 0.1]])
    return factors.float() @ mix + 0.4 * noise(n, 4), factors


@pytest.mark.parametrize("n_bins", [5, 20])
def test_binned_measures_agree_with_the_reference(n_bins: int) -> None:
    codes, factors = entangled()
    z, v = codes.double().numpy(), factors.numpy()
    assert measures.mig(codes, factors, n_bins) == pytest.approx(reference.mig(z, v, n_bins), abs=1e-6)
    assert measures.modularity(codes, factors, n_bins) == pytest.approx(reference.modularity(z, v, n_bins), abs=1e-6)


def test_a_perfect_code_has_the_mig_that_its_bins_allow() -> None:
    """20 bins separate at most 20 of 32 or 40 values: H(bins) / H(v) for each factor, minus the bias of noise."""
    factors = drawn(10_000)
    allowed = []
    for size in SIZES:
        bins = np.minimum(np.arange(size) / (size - 1) * 20, 19).astype(int)
        shares = np.bincount(bins) / size
        h = -sum(p * math.log(p) for p in shares if p > 0)
        allowed.append(min(1.0, h / math.log(size)))
    found = measures.mig(perfect(factors), factors)
    assert found == pytest.approx(np.mean(allowed), abs=0.02)
    assert found == pytest.approx(0.90, abs=0.02)
    assert measures.mig(perfect(factors)[:, :5], factors, n_bins=40) > 0.95
    small = drawn(10_000, (3, 6, 10))
    assert measures.mig(perfect(small), small) == pytest.approx(1, abs=0.03)


def test_noise_has_no_mig_and_a_modularity_that_is_bias() -> None:
    factors = drawn(10_000)
    assert measures.mig(noise(10_000, 10), factors) < 0.01
    assert measures.modularity(noise(10_000, 10), factors) == pytest.approx(0.68, abs=0.05)
    assert measures.modularity(perfect(factors)[:, :5], factors) > 0.99


def test_a_duplicated_code_has_no_gap() -> None:
    factors = drawn(2000, (4, 5))
    assert measures.mig(torch.cat([factors, factors], 1).float(), factors) == 0


def test_rotating_a_perfect_code_spoils_mig_and_not_explicitness() -> None:
    factors = drawn(4000, (6, 6))
    codes = factors.float() - 2.5
    turned = codes @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2)
    assert measures.mig(codes, factors) > 0.95 > 0.4 > measures.mig(turned, factors)
    straight, mixed = measures.explicitness(codes, factors), measures.explicitness(turned, factors)
    assert straight == pytest.approx(mixed, abs=0.01) and straight > 0.99
    one_hot = torch.cat([torch.nn.functional.one_hot(factors[:, k], 6) for k in range(2)], 1).float()
    assert measures.explicitness(one_hot + 0.01 * noise(4000, 12), factors) > 0.999
    assert abs(measures.explicitness(noise(4000, 4), factors)) < 0.05


def test_explicitness_is_the_area_under_the_curve() -> None:
    """Two values: one logistic regression, whose area a slow count over pairs gives."""
    from sklearn.linear_model import LogisticRegression

    factors = drawn(400, (2,))
    codes = factors.float() + noise(400, 1)
    (z_fit, v_fit), (z_rank, v_rank) = measures.halves(codes.double().numpy(), factors.numpy(), 0)
    fitted = LogisticRegression(C=1e3).fit(z_fit, v_fit[:, 0])
    area = reference.area_under_curve(fitted.decision_function(z_rank), v_rank[:, 0] == 1)
    assert measures.explicitness(codes, factors) == pytest.approx(2 * area - 1, abs=1e-6)


@pytest.mark.parametrize("sizes", [(2, 2), (3, 6), (6, 6), (3, 6, 10)])
def test_explicitness_is_1_for_a_perfect_code_0_for_noise_and_between_for_others(sizes: tuple[int, ...]) -> None:
    factors = drawn(3000, sizes)
    blurred = [measures.explicitness(factors.float() + s * noise(3000, len(sizes)), factors) for s in (0.01, 0.3, 1.0)]
    assert blurred[0] > 0.94 and blurred == sorted(blurred, reverse=True) and 0.2 < blurred[2] < 0.95
    assert abs(measures.explicitness(noise(3000, 3), factors)) < 0.06
    half = torch.cat([factors[:, :1].float(), noise(3000, 1)], 1)  # it has only the first factor
    if len(sizes) == 2:
        assert measures.explicitness(half, factors) == pytest.approx(0.5, abs=0.05)


def test_explicitness_agrees_with_the_definition() -> None:
    codes, factors = entangled(400)
    fit, rank = measures.halves(codes.double().numpy(), factors.numpy(), 0)
    assert measures.explicitness(codes, factors) == pytest.approx(reference.explicitness(fit, rank), abs=0.01)


def test_sap_of_a_perfect_code_of_sprites_is_small_because_its_machines_are_linear() -> None:
    factors = drawn(5000)
    codes = perfect(factors)
    codes = (codes - codes.amin(0)) / (codes.amax(0) - codes.amin(0))
    assert measures.sap(codes, factors) == pytest.approx(0.18, abs=0.02)
    two = drawn(2000, (2, 2))
    assert measures.sap(perfect(two), two) == pytest.approx(0.5, abs=0.05)  # 1 against a coin
    assert measures.sap(noise(2000, 4), two) < 0.05


def test_sap_is_that_of_machines_fitted_by_hand() -> None:
    for sizes in ((2, 3, 5), (2, 2, 2)):
        factors = drawn(400, sizes)
        codes = factors.float() @ torch.tensor([[1.0, 0.3, 0.0], [0.1, 1.0, 0.2], [0.0, 0.2, 1.0]]) + 0.4 * noise(
            400, 3
        )
        fit, test = measures.halves(codes.double().numpy(), factors.numpy(), 0)
        assert measures.sap(codes, factors) == pytest.approx(reference.sap(fit, test), abs=0.01)


class Linear:
    """A stand-in for boosting: importances are absolute correlations."""

    def fit(self, z: Any, v: Any) -> "Linear":
        self.feature_importances_ = np.array([abs(np.corrcoef(z[:, d], v)[0, 1]) for d in range(z.shape[1])])
        return self

    def score(self, z: Any, v: Any) -> float:
        return 0.5


def test_dci_from_importances_is_the_reference() -> None:
    codes, factors = entangled()
    found = measures.dci(codes, factors, classifier=lambda seed: Linear())
    fit = np.random.RandomState(0).permutation(300)[:200]
    z, v = codes.double().numpy()[fit], factors.numpy()[fit]
    importance = np.array([[abs(np.corrcoef(z[:, d], v[:, k])[0, 1]) for k in range(3)] for d in range(4)])
    disentanglement, completeness = reference.disentanglement_and_completeness(importance)
    assert found["disentanglement"] == pytest.approx(disentanglement, abs=1e-6)
    assert found["completeness"] == pytest.approx(completeness, abs=1e-6)
    assert found["informativeness"] == 0.5


def test_dci_by_boosting_on_a_perfect_code_and_noise() -> None:
    factors = drawn(600, (2, 3))
    good = measures.dci(perfect(factors), factors)
    assert min(good.values()) > 0.95
    bad = measures.dci(noise(600, 4), factors)
    assert bad["disentanglement"] < 0.2 and bad["completeness"] < 0.2
    assert bad["informativeness"] == pytest.approx((1 / 2 + 1 / 3) / 2, abs=0.1)
    assert measures.dci(perfect(factors), factors, n_jobs=2) == good  # processes change nothing


def test_the_factor_vae_score_is_the_reference_on_the_same_batches() -> None:
    codes, factors = entangled(400)
    z, v = codes.double().numpy(), factors.numpy()
    random = np.random.RandomState(3)
    batches: list[tuple[int, list[int]]] = []
    for n in (60, 40):
        factor = random.randint(3, size=n)
        rows = rows_in_common(v, factor, 8, random)
        batches += [(int(k), [int(r) for r in line]) for k, line in zip(factor, rows, strict=True)]
    for k, rows_of in batches:
        assert len({int(v[row, k]) for row in rows_of}) == 1
    found = factor_vae_score(codes, factors, n_fit=60, n_test=40, batch_size=8, seed=3)
    assert found == pytest.approx(reference.factor_vae_score(z, v, batches, 60), abs=1e-6)


def test_the_beta_vae_score_is_the_reference_on_the_same_pairs() -> None:
    codes, factors = entangled(400)
    z, v = codes.double().numpy(), factors.numpy()
    random = np.random.RandomState(3)
    points: list[tuple[int, list[tuple[int, int]]]] = []
    for n in (300, 200):
        factor = random.randint(3, size=n)
        pairs = [rows_in_common(v, factor, 2, random) for _ in range(8)]
        points += [(int(k), [(int(p[i, 0]), int(p[i, 1])) for p in pairs]) for i, k in enumerate(factor)]
    found = beta_vae_score(codes, factors, n_fit=300, n_test=200, batch_size=8, seed=3)
    assert found == pytest.approx(reference.beta_vae_score(z, points, 300), abs=0.01)
    assert 0.5 < found < 1


@pytest.mark.parametrize("score", [factor_vae_score, beta_vae_score])
def test_scores_of_perfect_and_of_random_codes(score: Callable[..., float]) -> None:
    factors = drawn(5000)
    assert score(perfect(factors), factors, n_fit=1000, n_test=500) > 0.99
    assert score(noise(5000, 10), factors, n_fit=1000, n_test=500) == pytest.approx(1 / 5, abs=0.08)


def test_codes_that_hardly_vary_do_not_vote() -> None:
    factors = drawn(3000, (4, 4))
    codes = torch.cat([factors.float(), 1e-3 * noise(3000, 1)], 1)
    assert factor_vae_score(codes, factors, n_fit=200, n_test=100) == 1.0
    with pytest.raises(UserError, match="posterior has collapsed"):
        factor_vae_score(1e-3 * noise(3000, 3), factors)


@pytest.mark.parametrize(
    "measure",
    [
        measures.mig,
        measures.modularity,
        measures.explicitness,
        measures.sap,
        measures.dci,
        factor_vae_score,
        beta_vae_score,
    ],
)
def test_bad_input_is_an_error_of_one_line(measure: Callable[..., Any]) -> None:
    codes, factors = noise(200, 3), drawn(200, (2, 3))
    with pytest.raises(UserError, match="NaN"):
        measure(codes.index_fill(1, torch.tensor([1]), math.nan), factors)
    with pytest.raises(UserError, match="one value only"):
        measure(codes, factors * torch.tensor([1, 0]))
    with pytest.raises(UserError, match="constant"):
        measure(torch.zeros(200, 3), factors)
    with pytest.raises(TooFew, match="too few"):
        measure(codes[:4], drawn(4, (2, 3)))
    with pytest.raises(UserError, match=r"give \[N, D\] and \[N, K\]"):
        measure(codes, factors[:, 0])
    with pytest.raises(UserError, match="continuous"):
        measure(codes, factors.float())
