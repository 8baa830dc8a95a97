"""FixMatch: the loss by hand, the threshold, and which view gets gradients."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.data.base import DataSet
from frame.data.digits import Digits
from frame.data.few_labels import FewLabels
from frame.data.views import Views
from frame.engine.dry_run import check_keys
from frame.models.FixMatch import FixMatch
from tests import digits
from tests.models.test_PseudoLabels import Logits, Same, logits

X, X_STRONG = logits([0.5, 0.25, 0.25], [0.2, 0.2, 0.6]), logits([0.9, 0.05, 0.05], [0.9, 0.05, 0.05])
WEAK = logits([0.1, 0.7, 0.2], [0.4, 0.35, 0.25], [0.05, 0.05, 0.9], [0.96, 0.03, 0.01])
STRONG = logits([0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.5, 0.2, 0.3])
Y = torch.tensor([1, 2])


def batch(x: Tensor = X, weak: Tensor = WEAK, strong: Tensor = STRONG) -> dict[str, Any]:
    return {"x": 100 * x, "views": [x, X_STRONG], "y": Y, "unlabelled": {"x": 100 * weak, "views": [weak, strong]}}


# rows whose largest probability is at least the threshold, and the probability of its class in the strong view
@pytest.mark.parametrize(
    "threshold, counted", [(0.0, [0.3, 0.1, 0.4, 0.5]), (0.65, [0.3, 0.4, 0.5]), (0.95, [0.5]), (1.0, [])]
)
def test_the_loss_by_hand(threshold: float, counted: list[float]) -> None:
    found = FixMatch(Same(), Logits(), threshold, 0.3)(batch())
    supervised = -(math.log(0.25) + math.log(0.6)) / 2
    consistency = -sum(map(math.log, counted)) / 4  # of all rows, not only of the confident ones
    assert found["cross_entropy"].item() == pytest.approx(supervised)
    assert found["consistency"].item() == pytest.approx(consistency, abs=1e-7)
    assert found["confident"].item() == pytest.approx(len(counted) / 4)
    assert found["loss"].item() == pytest.approx(supervised + 0.3 * consistency)


def test_a_row_at_the_threshold_counts() -> None:
    half = logits([0.5, 0.25, 0.25])  # softmax returns exactly 0.5
    for threshold, share in ((0.5, 1.0), (0.5001, 0.0)):
        found = FixMatch(Same(), Logits(), threshold)(batch(weak=half, strong=half))
        assert found["confident"].item() == share


def test_gradients_come_through_the_strong_view_alone() -> None:
    x, weak, strong = (rows.clone().requires_grad_() for rows in (X, WEAK, STRONG))
    FixMatch(Same(), Logits(), 0.65)(batch(x, weak, strong))["consistency"].backward()
    assert weak.grad is not None and not weak.grad.any() and x.grad is not None and not x.grad.any()
    assert strong.grad is not None
    assert strong.grad.abs().sum(1).gt(0).tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    "data, why",
    [
        (FewLabels(Digits(), 1), "FixMatch needs 'views' in each batch; FewLabels has: "),
        (Views(Digits(), {}), "needs 'unlabelled.views' .*Data sets with 'unlabelled.views': few_labels"),
    ],
)
def test_one_line_if_views_or_unlabelled_rows_are_missing(data: DataSet, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        check_keys(FixMatch, {"index", *data.keys}, data)
    assert "\n" not in str(caught.value)


def test_errors_are_named() -> None:
    wrong: list[tuple[dict[str, float], str]] = [
        ({"threshold": 1.1}, "threshold=1.1: it is a probability"),
        ({"threshold": -0.1}, "threshold=-0.1"),
        ({"weight": -1}, "weight=-1"),
    ]
    for arguments, why in wrong:
        with pytest.raises(UserError, match=why):
            FixMatch(Same(), Logits(), **arguments)
    with pytest.raises(UserError, match="z_dim differs"):
        FixMatch(digits.Encoder(3, [8]), digits.Predictor(2))
    three = {**batch(), "unlabelled": {"views": [WEAK, STRONG, STRONG]}}
    with pytest.raises(UserError, match="the model takes two views, and each batch has 3"):
        FixMatch(Same(), Logits())(three)
