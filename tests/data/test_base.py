"""Properties of all data sets."""

from typing import Any

import pytest
import torch
from torch import nn

from frame.data.base import DataSet, Source
from frame.data.gaussians import Gaussians
from frame.data.memory import InMemory
from frame.data.MNIST import MNIST
from frame.evaluation.elbo import ELBOEvaluation


class Held(DataSet):
    """The same given rows in every split."""

    def __init__(self, x: Any) -> None:
        super().__init__()
        self.x = x

    def load(self, split: str) -> Source:
        return InMemory(self.x)


@pytest.mark.parametrize(
    "x, row",
    [
        (torch.zeros(3, 1, 6, 6, dtype=torch.uint8), "picture"),
        (torch.zeros(3, 6, 6, dtype=torch.uint8), "picture"),
        (torch.zeros(3, 2, 50), "series"),
        (torch.zeros(3, 50, dtype=torch.int64), "sequence"),
        (torch.zeros(3, 7), "row"),
        (torch.zeros(3, 1, 2, 3, 4), "row"),
    ],
)
def test_units_name_what_a_row_is(x: torch.Tensor, row: str) -> None:
    class Bounds(nn.Module):
        def log_likelihood_bound(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return dict.fromkeys(("elbo", "rate", "distortion"), torch.zeros(len(x)))

    data = Held(x)
    assert data.row == row
    scalar = ELBOEvaluation("test").evaluate(Bounds(), data).scalars[""]
    assert scalar.unit == f"nats per {row}" and f"sample a {row};" in scalar.estimator


def test_data_sets_that_name_their_rows_need_not_read_them() -> None:
    assert MNIST("nowhere").row == "picture" and Gaussians(information=1.0).row == "row"
