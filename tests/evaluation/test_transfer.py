"""The probe on other data: its rows, its labels, and errors."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import NoNumber, UserError
from frame.data.base import DataSet, Source
from frame.data.digits import Digits
from frame.data.memory import InMemory
from frame.evaluation.linear_probe import LinearProbeEvaluation
from frame.evaluation.transfer import TransferEvaluation
from frame.probability.distributions import Delta


class Noise(DataSet):
    """The data that a model was trained on: no labels, 12 x 12."""

    def load(self, split: str) -> Source:
        return InMemory(torch.rand(30, 1, 12, 12, generator=torch.Generator().manual_seed(0)))


class Rows(DataSet):
    def load(self, split: str) -> Source:
        return InMemory(torch.rand(30, 4), torch.arange(30) % 2)


class Flat(nn.Module):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(x.flatten(1))


class Constant(nn.Module):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(torch.ones(len(x), 2))


def test_other_data_are_probed_and_named() -> None:
    evaluation = TransferEvaluation(Digits(), floors=["pixels"], cs=[0.01, 0.1])
    evaluation.check(Flat(), Noise())
    entry = evaluation.evaluate(Flat(), Noise())
    found = entry.scalars[""]
    assert {"", "floor/pixels"} < set(entry.scalars) and found.n_samples == 300 and found.layer == "mean"
    # the code is the picture itself, here 12 x 12, which keeps the information of 8 x 8
    assert found.value == entry.scalars["floor/pixels"].value
    own = LinearProbeEvaluation(floors=(), cs=[0.01, 0.1]).evaluate(Flat(), Digits()).scalars[""]
    assert found.value == pytest.approx(own.value, abs=2) and own.value > 90
    assert found.estimator.startswith("Digits: logistic regression") and "test touched once" in found.estimator
    assert entry.figures["confusion"].axes[0].get_title().startswith("Linear probe on Digits: test")


def test_the_same_data_give_the_probe() -> None:
    here = TransferEvaluation(Digits(), cs=[0.1], floors=()).evaluate(Flat(), Digits()).scalars[""]
    assert here.value == LinearProbeEvaluation(cs=[0.1], floors=()).evaluate(Flat(), Digits()).scalars[""].value


def test_errors_are_one_line() -> None:
    with pytest.raises(UserError, match=r"Rows has rows \[4\], the model takes \[1, 12, 12\]"):
        TransferEvaluation(Rows()).check(Flat(), Noise())
    with pytest.raises(UserError, match="needs 'y' in the data"):
        TransferEvaluation(Noise()).check(Flat(), Noise())
    with pytest.raises(UserError, match="str is neither a data set"):
        TransferEvaluation("digits").check(Flat(), Noise())
    with pytest.raises(NoNumber, match="codes are equal"):
        TransferEvaluation(Digits(), floors=()).evaluate(Constant(), Noise())
