"""A method's own loss on a split."""

import math

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.augment import Noise
from frame.data.base import Batch, whole_batch
from frame.data.digits import Digits
from frame.data.few_labels import FewLabels
from frame.data.views import Views
from frame.evaluation.base import Unsuited, evaluating
from frame.evaluation.loss import LossEvaluation
from frame.models.base import Model


class Spread(Model):
    """The variance of a batch's pixels, with noise of the model's own, and a penalty that is a gradient."""

    needs: tuple[str, ...] = ("views",)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        loss = self.weight * (batch["views"][0] + 0.1 * torch.randn(())).var()
        (penalty,) = torch.autograd.grad(loss, self.weight, create_graph=True)
        return {"loss": loss + penalty, "penalty": penalty}


def test_it_is_the_mean_over_whole_batches_with_the_same_noise_each_time() -> None:
    model, data = Spread(), Views(Digits(), {"noise": Noise(0.3)})
    evaluation = LossEvaluation(n_samples=150, batch_size=64)
    evaluation.check(model, data)
    found = []
    for drawn_before in (0, 7):
        torch.rand(drawn_before)
        with evaluating(model):
            assert evaluation.declare(model, data).numbers == {"": "", "penalty": ""}
            found.append(evaluation.evaluate(model, data))
    assert found[0].scalars == found[1].scalars and found[0].split == "train"
    scalar = found[0].scalars[""]
    assert scalar.n_samples == 128 and scalar.better == "less" and "64 rows" in scalar.estimator  # 22 rows are left out
    order = torch.randperm(1297, generator=torch.Generator().manual_seed(0))[:128]
    slow = [
        float(whole_batch(data.split("train"), rows, seed=i)["views"][0].var())
        for i, rows in enumerate(order.split(64))
    ]
    assert scalar.value == pytest.approx(3 * sum(slow) / 2, rel=1e-5)  # adding a number leaves the variance
    assert found[0].scalars["penalty"].value == pytest.approx(sum(slow) / 2, rel=1e-5)
    assert found[0].scalars["penalty"].better == "" and model.weight.grad is None


def test_few_rows_are_one_batch() -> None:
    model, data = Spread(), Views(Digits(), {"noise": Noise(0.3)})
    with evaluating(model):
        scalar = LossEvaluation(n_samples=50, batch_size=64).evaluate(model, data).scalars[""]
    assert scalar.n_samples == 50 and scalar.standard_error is None and math.isfinite(scalar.value)


def test_a_split_without_what_the_loss_reads_is_refused() -> None:
    with pytest.raises(Unsuited, match="needs 'views', which the loss of Spread reads; 'train' of Digits has none"):
        LossEvaluation().check(Spread(), Digits())
    with pytest.raises(Unsuited, match="has none"):
        LossEvaluation().check(nn.Linear(1, 1), Digits())
    model = Spread()
    model.needs = ("x", "unlabelled.x")
    with pytest.raises(Unsuited, match=r"needs 'unlabelled\.x'"):
        LossEvaluation().check(model, FewLabels(Digits(), 10))  # for evaluations, 'train' is its labelled rows
    with pytest.raises(UserError, match="batch_size"):
        LossEvaluation(batch_size=0)
