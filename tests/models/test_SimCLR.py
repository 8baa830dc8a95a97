"""NT-Xent against a triple loop, and its limits."""

import math

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.models.SimCLR import SimCLR, nt_xent
from tests.joint import Flat, Same, views


def by_loops(z1: Tensor, z2: Tensor, temperature: float) -> float:
    z, total, n = torch.cat([z1, z2]).double(), 0.0, len(z1)
    for i in range(2 * n):
        exps = []
        for k in range(2 * n):
            dot = sum(float(z[i, d] * z[k, d]) for d in range(z.shape[1]))
            exps.append(math.exp(dot / float(z[i].norm() * z[k].norm()) / temperature))
        total -= math.log(exps[(i + n) % (2 * n)] / (sum(exps) - exps[i]))
    return total / (2 * n)


def test_the_loss_is_that_of_a_triple_loop() -> None:
    z1, z2 = views(5, 3)
    found = SimCLR(Flat(3), Same(3), 0.3)({"views": [z1, z2]})["loss"]
    assert found.item() == pytest.approx(by_loops(z1, z2, 0.3), rel=1e-5)


@pytest.mark.parametrize("n", [2, 7])
def test_equal_embeddings_cost_log_of_the_others(n: int) -> None:
    z = torch.ones(n, 3)
    assert nt_xent(z, z, 0.5).item() == pytest.approx(math.log(2 * n - 1), rel=1e-5)


def test_separated_rows_cost_what_one_opposite_row_does() -> None:
    """Two opposite rows: log(1 + 2 e^{-2 / tau})."""
    z = torch.tensor([[1.0, 0], [-1.0, 0]])
    assert nt_xent(z, 3 * z, 0.5).item() == pytest.approx(math.log(1 + 2 * math.exp(-4)), rel=1e-4)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="temperature=0: it must be above 0"):
        SimCLR(Flat(3), Same(3), 0.0)
    with pytest.raises(UserError, match="takes two views, and each batch has 1: set data.n_views=2"):
        SimCLR(Flat(3), Same(3), 0.5)({"views": views(4, 3, 1)})
