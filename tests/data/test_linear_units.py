"""The linear unit tests: what predicts y in training and in test, by least squares."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.data.linear_units import EXAMPLES, LinearUnits
from frame.data.sizes import sizes_of
from frame.engine.experiment import train

N = 2000


def rows(data: LinearUnits, split: str, env: int | None = None) -> tuple[Tensor, Tensor]:
    source = data.split(split)
    batch = source.batch(torch.arange(len(source)))
    here = batch["env"] >= 0 if env is None else batch["env"] == env
    return batch["x"][here].double(), batch["y"][here].double()


def unexplained(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> float:
    """The share of y's variance in test that least squares leaves."""
    x, x_test = (torch.cat([part, torch.ones(len(part), 1).double()], 1) for part in (x, x_test))
    w = torch.linalg.lstsq(x, y.unsqueeze(1)).solution.squeeze(1)
    return float((x_test @ w - y_test).square().mean() / y_test.var())


@pytest.mark.parametrize("example", EXAMPLES)
def test_spurious_inputs_help_in_training_and_not_in_test(example: str) -> None:
    data, oracle = LinearUnits(example, n_rows=N), LinearUnits(example, n_rows=N, oracle=True)
    assert {key: sizes_of(data)[key] for key in ("x", "n_envs")} == {"x": [10], "n_envs": 3}
    assert data.n_classes == (None if example[0] == "1" else 2)
    train, valid, test = (rows(data, split) for split in data.splits)
    assert train[0].shape == (3 * N, 10) and not torch.equal(train[0], valid[0])
    seen, unseen = unexplained(*train, *valid), unexplained(*train, *test)
    best = unexplained(*rows(oracle, "train"), *rows(oracle, "test"))
    assert unseen > 1.3 * best and unseen > seen, (seen, unseen, best)


@pytest.mark.parametrize("example", ["1", "2", "3"])
def test_a_rotation_hides_which_inputs_are_which(example: str) -> None:
    plain, rotated = LinearUnits(example, n_rows=50), LinearUnits(f"{example}s", n_rows=50)
    (x, y), (turned, same) = rows(plain, "valid"), rows(rotated, "valid")
    assert torch.equal(y, same) and not torch.allclose(x, turned)
    torch.testing.assert_close(turned @ rotated.rotation.double().T, x, rtol=1e-4, atol=1e-4)


def test_the_first_example_has_the_paper_s_noise() -> None:
    data = LinearUnits(1, n_rows=N)
    for env, scale in enumerate((0.1, 1.5, 2.0)):
        x, y = rows(data, "train", env)
        assert x[:, :5].std().item() == pytest.approx(scale, rel=0.05)
        residual = y - x[:, :5] @ data.cause.double().sum(1)
        assert residual.std().item() == pytest.approx(scale * 5**0.5, rel=0.1)  # a sum of five
    assert rows(data, "train")[1].dtype == torch.float64  # from float32: numbers
    assert data.split("train").batch(torch.arange(2))["y"].is_floating_point()


def test_the_second_example_has_the_paper_s_shares() -> None:
    data = LinearUnits("2", n_rows=N)
    for env, (agrees, grass) in enumerate(((0.95, 0.3), (0.97, 0.5), (0.99, 0.7))):
        x, y = rows(data, "train", env)
        background = x[:, 5:].mean(1) > 0
        assert (background == (y == 1)).double().mean().item() == pytest.approx(agrees, abs=0.02)
        assert y.mean().item() == pytest.approx(grass, abs=0.03)
        assert x[:, :5].abs().max() < 0.1


def test_the_third_example_has_a_margin_of_a_tenth() -> None:
    x, y = rows(LinearUnits("3", n_rows=N), "train", 0)
    torch.testing.assert_close(x[y == 0, :5].mean(0), torch.full((5,), 0.1).double(), rtol=0, atol=0.02)
    torch.testing.assert_close(x[y == 1, :5].mean(0), torch.full((5,), -0.1).double(), rtol=0, atol=0.02)


def test_more_environments_and_other_draws() -> None:
    data = LinearUnits("2", n_envs=5, n_rows=10)
    assert sizes_of(data)["n_envs"] == 5 and all(0.9 <= p <= 1 for p in data.agreement)
    again, other = LinearUnits("2", n_envs=5, n_rows=10), LinearUnits("2", n_envs=5, n_rows=10, draw=1)
    assert torch.equal(rows(data, "train")[0], rows(again, "train")[0])
    assert not torch.equal(rows(data, "train")[0], rows(other, "train")[0])


def test_wrong_arguments_are_one_line() -> None:
    with pytest.raises(UserError, match="no example '4'"):
        LinearUnits(4)
    with pytest.raises(UserError, match="n_envs=1"):
        LinearUnits("1", n_envs=1)


@pytest.mark.parametrize("method", ["ERM", "IRM"])
def test_numbers_are_trained_on_watched_and_judged(method: str, tmp_path: Path) -> None:
    words = [f"experiment=linear_units_{method}", "data.example=1", "architectures/predictor=numbers", "logging=csv"]
    words += ["data.n_rows=50", "params.batch_size=50", "train_for=4 iterations", f"device.experiments_root={tmp_path}"]
    assert train(compose([*words, "doctor.check_every=2 iterations"]), words) == 0
    (records,) = tmp_path.glob("*/*/records.jsonl")
    found = {record["name"]: record for record in map(json.loads, records.read_text().splitlines())}
    assert found["Environments/Test/worst"]["unit"] == "squared error"
    worst = max(found[f"Environments/Test/{env}"]["value"] for env in range(3))
    assert found["Environments/Test/worst"]["value"] == worst
