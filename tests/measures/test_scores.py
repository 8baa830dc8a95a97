"""Scores against scikit-learn's, with and without weights, and their intervals."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor

from frame.common.errors import NoNumber, TooFew
from frame.measures.scores import (
    average_precision,
    balanced_accuracy,
    bootstrapped,
    by_target,
    check_targets,
    kind_of,
    macro_f1,
    mean_absolute_error,
    r2,
    scores,
)

RANDOM = torch.Generator().manual_seed(0)
W = torch.randint(0, 4, (2, 80), generator=RANDOM).double()


def numbers(k: int) -> tuple[Tensor, Tensor]:
    y = 1e6 + torch.randn(80, k, generator=RANDOM, dtype=torch.float64)
    return y + torch.randn(80, k, generator=RANDOM, dtype=torch.float64), y


def labels() -> tuple[Tensor, Tensor]:
    p = torch.randint(0, 10, (80, 4), generator=RANDOM) / 10.0 + 0.01  # with ties
    y = torch.rand(80, 4, generator=RANDOM) < p.square()
    y[:, 3], p[:, 3] = False, 0.0  # neither occurs nor is predicted
    return p, y


@pytest.mark.parametrize("k", [1, 3])
def test_scores_of_numbers_are_scikit_learns(k: int) -> None:
    p, y = numbers(k)
    for w, weights in ((None, [None]), (W, W.numpy())):
        for ours, theirs in ((r2, metrics.r2_score), (mean_absolute_error, metrics.mean_absolute_error)):
            expected = [theirs(y.numpy(), p.numpy(), sample_weight=one) for one in weights]
            np.testing.assert_allclose(ours(p, y, w), expected, rtol=1e-6)
    found = scores(p if k > 1 else p[:, 0], y if k > 1 else y[:, 0])
    assert found["R2"].value == pytest.approx(metrics.r2_score(y.numpy(), p.numpy()))


def test_scores_of_classes_are_scikit_learns() -> None:
    y = torch.tensor([0] * 60 + [1] * 15 + [2] * 5)
    p = torch.where(torch.rand(80, generator=RANDOM) < 0.7, y, torch.randint(0, 4, (80,), generator=RANDOM))
    hot, marked = (torch.nn.functional.one_hot(each, 4).bool() for each in (y, p))
    for w, weights in ((None, [None]), (W, W.numpy())):
        balanced = [metrics.recall_score(y, p, labels=[0, 1, 2], average="macro", sample_weight=one) for one in weights]
        np.testing.assert_allclose(balanced_accuracy(marked, hot, w), balanced)
        f1 = [metrics.f1_score(y, p, average="macro", sample_weight=one, zero_division=np.nan) for one in weights]
        np.testing.assert_allclose(macro_f1(marked, hot, w), f1)
    known = p.clamp(max=2)
    assert scores(known, y)["balanced_accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(y, known))


def test_scores_of_labels_are_scikit_learns() -> None:
    p, y = labels()
    for w, weights in ((None, [None]), (W, W.numpy())):
        f1 = [
            metrics.f1_score(y[:, :3], p[:, :3] > 0.5, average="macro", sample_weight=one, zero_division=np.nan)
            for one in weights
        ]
        np.testing.assert_allclose(macro_f1(p > 0.5, y, w), f1)
        precision = [metrics.average_precision_score(y[:, :3], p[:, :3], sample_weight=one) for one in weights]
        np.testing.assert_allclose(average_precision(p, y, w), precision)
    assert scores(p, y)["average_precision"].value == pytest.approx(metrics.average_precision_score(y[:, :3], p[:, :3]))
    named = by_target(p, y, ["a", "b", "c", "d"])
    assert [row[0] for row in named] == ["a", "b", "c", "d"] and math.isnan(float(str(named[3][1])))
    assert named[0][1] == pytest.approx(100 * metrics.f1_score(y[:, 0], p[:, 0] > 0.5))


def test_the_bootstrap_of_a_mean_has_its_standard_error() -> None:
    x = torch.randn(400, generator=RANDOM, dtype=torch.float64)

    def mean(w: Tensor | None) -> Tensor:
        return x.mean()[None] if w is None else (w @ x) / w.sum(1)

    found = bootstrapped(mean, 400, n_draws=2000)
    assert found.standard_error == pytest.approx(float(x.std()) / 20, rel=0.1)
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 * found.standard_error, rel=0.1)
    assert found == bootstrapped(mean, 400, n_draws=2000)
    assert bootstrapped(mean, 1).interval is None


def test_targets_are_told_apart_by_their_type() -> None:
    assert kind_of(torch.zeros(3)) == kind_of(torch.zeros(3, 2)) == "numbers"
    assert kind_of(torch.zeros(3, dtype=torch.long)) == "classes"
    assert kind_of(torch.zeros(3, 2, dtype=torch.bool)) == "labels"


def test_targets_that_are_always_the_same_or_missing_are_refused() -> None:
    for y, says in (
        (torch.full((5, 2), 3.0), "all 5 rows have the same number, 3"),
        (torch.tensor([1.0, math.nan, 2.0]), "'y' is NaN or infinite in 1 of 3 rows: leave them out"),
        (torch.ones(4, 2, dtype=torch.bool), "all 4 rows have the same labels"),
        (torch.ones(4, dtype=torch.long), "one class"),
    ):
        with pytest.raises(NoNumber, match=says):
            check_targets(y)
    with pytest.raises(TooFew, match="no rows"):
        scores(torch.zeros(0), torch.zeros(0))
    with pytest.raises(NoNumber, match="predicted numbers are NaN"):
        scores(torch.tensor([math.nan, 1.0]), torch.tensor([0.0, 1.0]))
    one_constant = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    assert scores(one_constant, one_constant)["R2"].value == 1.0
