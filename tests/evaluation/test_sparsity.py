"""Sparsity of known codes."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import UserError
from frame.data.base import Batch, DataSet, Source
from frame.evaluation.sparsity import SparsityEvaluation
from frame.probability.distributions import Delta

CODES = torch.tensor([[1.0, 0, 0, 0, 0], [2, -1, 0, 0, 0], [0, 3, 0, 0.5, 0], [0, 0, 0, 0, 0]])


class Codes(DataSet):
    def load(self, split: str) -> Source:
        return Rows()


class Rows:
    def __len__(self) -> int:
        return 4

    def batch(self, indices: Tensor) -> Batch:
        return {"x": CODES[indices], "index": indices}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


class Identity(nn.Module):
    def encode(self, x: Tensor) -> Distribution:
        return Delta(x)


def test_counts() -> None:
    """1, 2, 2 and 0 units are active; the third and the last of five never are."""
    found = SparsityEvaluation().evaluate(Identity(), Codes()).scalars
    assert found[""].value == pytest.approx(5 / 4) and found[""].n_samples == 4
    assert found["dead"].value == pytest.approx(40)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="n_samples=0"):
        SparsityEvaluation(n_samples=0)
