"""A copy computes what its pattern does, until it is changed, and trains."""

from pathlib import Path

import torch
from torch import Tensor

from frame.composition.compose import compose
from frame.composition.folders import use_own_folder
from frame.engine.experiment import build, train

CONFIG = Path(__file__).parents[1] / "config"
MINE = ["experiment=digits_VAE"]
PATTERN = ["experiment=digits_VAE"]
QUICK = ["train_for=3 iterations", "cut_schedules=true", "logging=csv", "callbacks=null", "doctor=null"]


def losses(words: list[str]) -> dict[str, Tensor]:
    """Of the first batch, with the first weights."""
    use_own_folder(CONFIG)
    run = build(compose([*words, *QUICK]))
    batch = next(iter(run.loader))
    torch.manual_seed(0)  # the same noise for both
    found: dict[str, Tensor] = run.model(batch)
    return found


def test_it_starts_as_the_pattern() -> None:
    """Delete this test, and write one of your own, when you change the class."""
    mine, theirs = losses(MINE), losses(PATTERN)
    assert mine.keys() == theirs.keys() and all(loss.isfinite().all() for loss in mine.values())
    torch.testing.assert_close(mine, theirs)


def test_a_run_trains(tmp_path: Path) -> None:
    use_own_folder(CONFIG)
    words = [*MINE, *QUICK, f"device.experiments_root={tmp_path}"]
    assert train(compose(words), words) == 0
