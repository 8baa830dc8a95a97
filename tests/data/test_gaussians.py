"""Correlated Gaussians: their moments, their mutual information, and when they are drawn."""

import pytest
import torch

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.data.base import whole_batch
from frame.data.gaussians import Gaussians
from frame.data.loader import Loader
from frame.evaluation.information import InformationEvaluation
from tests.probability.test_estimators import Best


def test_moments_are_those_of_correlated_standard_normal_numbers() -> None:
    data = Gaussians(rho=0.6, dim=3, n_held_out=100_000)
    x, y = whole_batch(data.split("test"), torch.arange(100_000))["views"]
    expected = torch.eye(6)
    expected[torch.arange(3), torch.arange(3) + 3] = expected[torch.arange(3) + 3, torch.arange(3)] = 0.6
    torch.testing.assert_close(torch.cov(torch.cat([x, y], 1).T), expected, rtol=0, atol=0.02)
    assert data.shape == (3,) and data.information == pytest.approx(-1.5 * torch.tensor(0.64).log().item())


def test_information_determines_rho_and_cubing_keeps_it() -> None:
    plain, cubic = (Gaussians(information=4, cubic=cubic, n_held_out=8) for cubic in (False, True))
    assert plain.information == cubic.information == pytest.approx(4) and plain.rho == pytest.approx(0.5742, abs=1e-4)
    (x, y), (x_cubic, y_cubic) = (whole_batch(d.split("valid"), torch.arange(8))["views"] for d in (plain, cubic))
    assert torch.equal(x, x_cubic) and torch.equal(y**3, y_cubic)


def test_training_pairs_are_new_each_time_and_others_are_fixed() -> None:
    data = Gaussians(information=2, n_rows=100, n_held_out=50)
    rows = torch.tensor([3, 1, 3])
    for split, n in (("train", 100), ("valid", 50), ("test", 50)):
        source = data.split(split)
        one, other = whole_batch(source, rows, seed=1), whole_batch(source, rows, seed=2)
        assert len(source) == n and set(one) == {"x", "views", "index"} == {*data.keys, "index"}
        assert torch.equal(one["x"], one["views"][0]) and one["x"].shape == (3, 20)
        assert torch.equal(one["x"], whole_batch(source, rows, seed=1)["x"])
        assert torch.equal(one["x"], other["x"]) is (split != "train")
        assert torch.equal(one["x"][0], one["x"][2]) is (split != "train")
    valid, test = (whole_batch(data.split(split), torch.arange(50))["x"] for split in ("valid", "test"))
    assert not torch.isclose(valid, test).any()
    epochs = [next(iter(Loader(data.split("train"), 100, seed)))["x"] for seed in (0, 0, 1)]
    assert torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[0], epochs[2])


def test_the_config_builds_it() -> None:
    data = instantiate(resolved(compose(["data=gaussians", "data.information=6", "data.cubic=true"]).data))
    assert isinstance(data, Gaussians) and data.cubic and data.information == pytest.approx(6)


def test_an_estimate_is_set_beside_the_truth() -> None:
    data = Gaussians(information=2, n_held_out=1000)

    class Knows(torch.nn.Module):
        def information(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            assert len(x) == 64  # the last 40 rows are not a whole batch
            return Best(data.rho)(x, y).mean()

    evaluation = InformationEvaluation("test", batch_size=64)
    evaluation.check(Knows(), data)
    entry = evaluation.evaluate(Knows(), data)
    x, y = whole_batch(data.split("test"), torch.arange(1000))["views"]
    everything = Best(data.rho)(x, y)
    found = entry.scalars[""]
    assert found.standard_error is not None and found.n_samples == 960
    assert found.value == pytest.approx(everything.mean().item(), abs=3 * found.standard_error)
    assert found.standard_error == pytest.approx(everything.std().item() / 960**0.5, rel=0.6)
    assert entry.scalars["truth"].value == pytest.approx(2)
    assert entry.scalars["error"].value == pytest.approx(found.value - 2)
    with pytest.raises(UserError, match="needs a model that has information"):
        evaluation.check(torch.nn.Linear(2, 2), data)
    with pytest.raises(UserError, match="batch_size=1"):
        InformationEvaluation(batch_size=1)


def test_errors_are_named() -> None:
    for information, rho in ((None, None), (2.0, 0.5)):
        with pytest.raises(UserError, match="give one of information"):
            Gaussians(information, rho)
    with pytest.raises(UserError, match="rho=1"):
        Gaussians(rho=1.0)
    with pytest.raises(UserError, match="information=-1"):
        Gaussians(information=-1)
    with pytest.raises(UserError, match="n_rows=0"):
        Gaussians(rho=0.5, n_rows=0)
