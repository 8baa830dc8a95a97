"""Tests of Mine: shapes, labels, splits that do not change, and a run that trains on it."""

from pathlib import Path

import pytest
import torch

from frame.commands.templates.data import Mine
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import use_own_folder
from frame.data.base import whole_batch
from frame.engine.experiment import train

CONFIG = Path(__file__).parents[1] / "config"


@pytest.mark.parametrize("split", Mine.splits)
def test_a_split(split: str) -> None:
    data = Mine(n_rows=50)
    source = data.split(split)
    assert len(source) == 50
    batch = whole_batch(source, torch.arange(50))
    assert batch["x"].shape == (50, *data.shape) and batch["x"].dtype == torch.float32
    assert 0 <= batch["x"].min() and batch["x"].max() <= 1
    assert set(batch["y"].tolist()) <= set(range(data.n_classes))
    again = whole_batch(Mine(n_rows=50).split(split), torch.arange(50))
    assert torch.equal(batch["x"], again["x"]) and torch.equal(batch["y"], again["y"])


def test_splits_differ() -> None:
    data = Mine(n_rows=50)
    x = {split: whole_batch(data.split(split), torch.arange(50))["x"] for split in data.splits}
    assert not torch.equal(x["train"], x["test"]) and not torch.equal(x["train"], x["valid"])


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UserError, match="n_rows"):
        Mine(n_rows=0)
    with pytest.raises(UserError, match="binarize"):
        Mine(binarize="sometimes")


def test_a_run_trains_on_it(tmp_path: Path) -> None:
    use_own_folder(CONFIG)
    words = ["experiment=digits_VAE", "data=Mine"]
    quick = ["train_for=3 iterations", "logging=csv", "callbacks=null", f"device.experiments_root={tmp_path}"]
    assert train(compose([*words, *quick]), words) == 0
