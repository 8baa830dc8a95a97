"""Distances of generated from real rows: against torchmetrics, slow scripts, and known answers for equal sets."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from frame.common.errors import NoNumber, TooFew, UserError
from frame.measures import generation
from frame.measures.generation import density_coverage, fid, in_balls, kid, precision_recall
from tests.reference import generation as reference


def rows(n: int, size: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    """Correlated rows with unequal variances."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=torch.Generator().manual_seed(99)) / size**0.5
    return torch.randn(n, size, generator=generator) @ mix + shift


class Flat(nn.Module):
    """A feature network of one's own, as torchmetrics takes it: pictures [N, 3, 1, 4] are rows of 12."""

    num_features = 12

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_fid_is_that_of_torchmetrics_and_of_the_slow_script() -> None:
    a, b = rows(300, 12), 0.7 * rows(200, 12, 1, shift=0.3)
    theirs = FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 1, 4))
    theirs.set_dtype(torch.float64)
    theirs.update(a.double().view(-1, 3, 1, 4), real=True)
    theirs.update(b.double().view(-1, 3, 1, 4), real=False)
    assert fid(a, b) == pytest.approx(theirs.compute().item(), rel=1e-6)
    assert fid(a, b) == pytest.approx(reference.fid(a.numpy().astype(float), b.numpy().astype(float)), rel=1e-6)


def test_fid_of_equal_sets_is_zero_and_of_a_shift_its_square() -> None:
    a = rows(400, 30)
    # also if a direction has no variance, which is sensitive to rounding
    for x in (a, a @ torch.eye(30).index_fill(0, torch.tensor([2, 3]), 0.0)):
        total = x.var(0).sum().item()
        assert fid(x, x) <= 1e-6 * total
        assert fid(x, x + 2.0) == pytest.approx(4 * 30, rel=1e-5)
        assert fid(x, x[torch.randperm(400)]) <= 1e-6 * total
    # two Gaussians of one dimension: (m - m')^2 + (s - s')^2
    x = torch.randn(50, 1)
    assert fid(x, 3 * x) == pytest.approx(((2 * x.mean()) ** 2 + (2 * x.std()) ** 2).item(), rel=1e-5)


def test_fid_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = rows(300, 12), rows(300, 12, 1)
    whole = fid(a, b), precision_recall(a, b), density_coverage(a, b)
    monkeypatch.setattr(generation, "NUMBERS_AT_ONCE", 700)
    assert fid(a, b) == pytest.approx(whole[0], rel=1e-9)
    assert (precision_recall(a, b), density_coverage(a, b)) == whole[1:]


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
def test_kid_is_that_of_torchmetrics_for_the_same_subsets() -> None:
    a, b = rows(120, 12), rows(100, 12, 1, shift=0.2)
    theirs = KernelInceptionDistance(feature=Flat(), subsets=7, subset_size=50, normalize=True)
    theirs.set_dtype(torch.float64)
    theirs.update(a.double().view(-1, 3, 1, 4), real=True)
    theirs.update(b.double().view(-1, 3, 1, 4), real=False)
    torch.manual_seed(3)
    mean, spread = theirs.compute()
    assert kid(a, b, 7, 50, seed=3) == pytest.approx((mean.item(), spread.item()), rel=1e-6)


def test_kid_is_the_mmd_of_the_slow_script_and_unbiased() -> None:
    a, b = rows(30, 4), rows(30, 4, 1, shift=0.5)
    assert kid(a, b, 1, 30)[0] == pytest.approx(reference.mmd(a.double().numpy(), b.double().numpy()), rel=1e-6)
    # two sets of one distribution: 0 for any size of subsets
    same, error = kid(rows(20_000, 4), rows(20_000, 4, 1), 400, 20)
    assert abs(same) < 4 * error / math.sqrt(400) and error > 0


@pytest.mark.parametrize("k", [1, 3, 5])
def test_balls_are_those_of_the_slow_script(k: int) -> None:
    real, fake = rows(70, 3), 0.8 * rows(50, 3, 1, shift=0.8)
    slow = reference.prdc(real.double().numpy(), fake.double().numpy(), k)
    assert precision_recall(real, fake, k) == pytest.approx((slow["precision"], slow["recall"]), abs=1e-9)
    assert density_coverage(real, fake, k) == pytest.approx((slow["density"], slow["coverage"]), abs=1e-9)
    assert 0 < slow["precision"] < 1 and 0 < slow["recall"] < 1 and 0 < slow["coverage"] < 1


def test_known_answers_for_equal_sets_copies_and_distant_sets() -> None:
    x = rows(200, 5)
    # each row lies in its own ball and, on average, in those of k others; copies lie on edges
    for copy in (x, x[torch.randperm(200)], x + 0.0):
        assert precision_recall(x, copy) == (1.0, 1.0)
        assert density_coverage(x, copy, 4) == pytest.approx((1 + 1 / 4, 1.0), abs=1e-12)
    assert precision_recall(x, x + 100) == (0.0, 0.0) and density_coverage(x, x + 100) == (0.0, 0.0)
    # one repeated picture: full precision, and almost no coverage
    collapsed = x[:1].repeat(150, 1)
    precision, recall = precision_recall(x, collapsed)
    assert precision == 1 and recall == 1 / 200
    assert density_coverage(x, collapsed)[1] < 0.1 and math.isfinite(fid(x, collapsed))


def test_two_sets_of_one_distribution_have_density_1_and_the_expected_coverage() -> None:
    """Naeem et al. 2020, section 3: coverage is 1 - prod_i (N - i) / (N + M - i), i = 1 .. k."""
    n, k = 1500, 2
    x, y = rows(n, 4), rows(n, 4, 1)
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert density_coverage(x, y, k)[1] == pytest.approx(expected, abs=0.03)
    assert density_coverage(x, y, 20)[0] == pytest.approx(1, abs=0.08)
    assert expected == pytest.approx(1 - 2**-k, abs=0.001)


def test_balls_reach_to_the_neighbour_and_not_beyond() -> None:
    centres = torch.tensor([[0.0], [1.0], [3.0]])  # radii 1, 1, 2
    counts, hit = in_balls(centres, torch.tensor([[-1.0], [-1.01], [0.5], [1.5], [10.0]]), 1)
    assert counts.tolist() == [1, 0, 2, 2, 0] and hit.tolist() == [True, True, True]


MEASURES: list[Callable[[Tensor, Tensor], Any]] = [
    fid,
    lambda a, b: kid(a, b, 2, 10),
    precision_recall,
    density_coverage,
]


@pytest.mark.parametrize("measure", MEASURES, ids=["fid", "kid", "precision_recall", "density_coverage"])
def test_bad_features_are_an_error_of_one_line(measure: Callable[[Tensor, Tensor], Any]) -> None:
    x = rows(40, 3)
    for bad, kind, match in (
        (torch.full_like(x, math.nan), NoNumber, "NaN or infinite"),
        (rows(40, 4), UserError, r"\[40, 3\] and \[40, 4\]"),
        (torch.zeros(40), UserError, "give rows of both"),
        (x[:1], TooFew, "at least 2 rows"),
    ):
        with pytest.raises(kind, match=match):
            measure(x, bad)
    with pytest.raises(NoNumber, match="all 40 real rows have equal features"):
        measure(torch.ones(40, 3), x)
    with pytest.raises(TooFew):
        measure(x[:3], x[:3])


def test_numbers_out_of_range_are_named() -> None:
    x = rows(40, 3)
    with pytest.raises(TooFew, match="40 rows are too few for subsets of 1000"):
        kid(x, x)
    with pytest.raises(UserError, match="subset_size=1"):
        kid(x, x, 1, 1)
    with pytest.raises(UserError, match="n_subsets=0"):
        kid(x, x, 0, 10)
    with pytest.raises(UserError, match="k=0"):
        precision_recall(x, x, 0)
    with pytest.raises(TooFew, match="no full covariance"):
        fid(x[:3], x)
