"""The geometry of codes through a model and its data."""

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.data.augment import Noise
from frame.data.digits import Digits
from frame.data.views import Views
from frame.evaluation.base import evaluating
from frame.evaluation.geometry import GeometryEvaluation
from frame.measures.geometry import dead_units, lidar, rankme, uniformity
from frame.models.base import Model
from frame.probability.distributions import Delta


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


def test_two_views_have_an_alignment_and_one_picture_has_none() -> None:
    model = Pixels(5)
    with evaluating(model):
        assert "alignment" not in GeometryEvaluation().evaluate(model, Digits()).scalars
        still = GeometryEvaluation().evaluate(model, Views(Digits(), {})).scalars["alignment"]
        noisy = Views(Digits(), {"noise": Noise(0.3)})
        moved = GeometryEvaluation(n_samples=100).evaluate(model, noisy).scalars["alignment"]
        (batch,) = GeometryEvaluation().batches(model, noisy, 100)
    x, y = (model.encode(view).mean for view in batch["views"])
    slow = sum(float(((a / a.norm() - b / b.norm()) ** 2).sum()) for a, b in zip(x, y, strict=True)) / 100
    assert still.value == pytest.approx(0, abs=1e-9) and moved.value == pytest.approx(slow, rel=1e-5)
    assert moved.value > 0.05 and moved.n_samples == 100 and moved.layer == "mean"


def test_lidar_reads_new_views_of_the_same_rows() -> None:
    model, noisy = Pixels(5), Views(Digits(), {"noise": Noise(0.3)})
    evaluation = GeometryEvaluation(n_samples=100, layers=["mean", "features"], n_lidar=50, n_views=5)
    evaluation.check(model, noisy)
    with evaluating(model):
        scalars = evaluation.evaluate(model, noisy).scalars
        views = evaluation._many_views(model, noisy, "mean")
    assert views.shape == (50, 5, 5) and (views[:, 0] != views[:, 1]).any(1).all()
    assert scalars["lidar"].value == pytest.approx(lidar(views)) and scalars["lidar"].width == 5
    assert scalars["alpha_req"].value == pytest.approx(abs(scalars["alpha"].value - 1))
    assert not [name for name in scalars if name.startswith("features")]  # the model has no such layer
    with pytest.raises(UserError, match="lidar needs 'views'"):
        evaluation.check(model, Digits())


def test_collapsed_codes_are_an_error_of_one_line() -> None:
    class Same(Pixels):
        def encode(self, x: Tensor) -> Delta:
            return Delta(torch.ones(len(x), 3))

    with pytest.raises(UserError, match="collapsed"):
        GeometryEvaluation().evaluate(Same(3), Digits())
