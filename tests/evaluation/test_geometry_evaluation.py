"""The geometry of codes through a model and its data."""

import pytest
import torch
from torch import Tensor

from frame.data.digits import Digits
from frame.evaluation.base import evaluating
from frame.evaluation.geometry import GeometryEvaluation
from frame.measures.geometry import dead_units, rankme, uniformity
from frame.mistakes import Mistake
from frame.models.base import Delta, Model


class Pixels(Model):
    def __init__(self, kept: int) -> None:
        super().__init__()
        self.kept = kept

    def encode(self, x: Tensor) -> Delta:
        return Delta(x.flatten(1)[:, 20 : 20 + self.kept] + 0.1)


def test_it_measures_the_mean_codes_of_the_split() -> None:
    model, data = Pixels(5), Digits()
    with evaluating(model):
        scalars = GeometryEvaluation().evaluate(model, data).scalars
    x = data.split("test").batch(torch.arange(300))["x"].float() / 255
    codes = x.flatten(1)[:, 20:25] + 0.1
    assert scalars["rankme"].value == pytest.approx(rankme(codes), rel=1e-5)
    assert scalars["uniformity"].value == pytest.approx(uniformity(codes), rel=1e-5)
    assert (
        scalars["rankme"].unit == "of 5"
        and scalars["dead"].value == dead_units(codes)
        and scalars["rankme"].n_samples == 300
    )


def test_collapsed_codes_give_a_line_and_no_number() -> None:
    class Same(Pixels):
        def encode(self, x: Tensor) -> Delta:
            return Delta(torch.ones(len(x), 3))

    with pytest.raises(Mistake, match="collapsed"):
        GeometryEvaluation().evaluate(Same(3), Digits())
