"""The match of codes and prior is 0 if they agree, and large if they do not."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import UserError
from frame.data.base import Batch, DataSet, Source
from frame.evaluation.base import evaluating
from frame.evaluation.prior_match import PriorMatchEvaluation
from frame.probability.distributions import Delta
from frame.probability.divergences import imq, mmd


class Gaussians(DataSet):
    """1,000 rows from N(0, I), two numbers each."""

    def load(self, split: str) -> Source:
        return Normals()


class Normals:
    x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor) -> Batch:
        return {"x": self.x[indices], "index": indices}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


class Shift(nn.Module):
    """The code is the row and `shift`; the prior is N(0, I)."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def encode(self, x: Tensor) -> Distribution:
        return Delta(x + self.shift)

    def sample_prior(self, n_samples: int) -> Tensor:
        return torch.randn(n_samples, 2)


def test_codes_that_are_the_prior_match_it_and_shifted_ones_do_not() -> None:
    found = {}
    for shift in (0.0, 1.0):
        model = Shift(shift)
        with evaluating(model):
            scalar = PriorMatchEvaluation(block=200).evaluate(model, Gaussians()).scalars[""]
        assert scalar.n_samples == 1000 and scalar.standard_error is not None
        found[shift] = (scalar.value, scalar.standard_error)
    assert abs(found[0.0][0]) < 4 * found[0.0][1] < 0.01
    x, y = torch.randn(2, 4000, 2, generator=torch.Generator().manual_seed(1))
    expected = mmd(x, y + 1, partial(imq, width=4.0)).item()
    assert found[1.0][0] == pytest.approx(expected, rel=0.1)
    assert expected > 10 * found[1.0][1]


def test_fewer_pictures_than_a_block_make_one_block() -> None:
    model = Shift(0.0)
    with evaluating(model):
        scalar = PriorMatchEvaluation(n_samples=7).evaluate(model, Gaussians()).scalars[""]
    assert scalar.n_samples == 7 and scalar.standard_error is not None and math.isnan(scalar.standard_error)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="block=1: it must be at least 2"):
        PriorMatchEvaluation(block=1)
    with pytest.raises(UserError, match=r"needs a model that has sample_prior\(\); Identity has none"):

        class Identity(nn.Module):
            def encode(self, x: Tensor) -> Distribution:
                return Delta(x)

        PriorMatchEvaluation().check(Identity(), Gaussians())
