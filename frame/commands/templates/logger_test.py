"""Tests of Mine: what it writes and removes, and a run that logs with it."""

import json
from pathlib import Path

from frame.commands.templates.logger import Mine
from frame.composition.compose import compose
from frame.composition.folders import use_own_folder
from frame.engine.experiment import train

CONFIG = Path(__file__).parents[1] / "config"


def lines(file: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rows_are_written_and_taken_back(tmp_path: Path) -> None:
    logger = Mine(tmp_path, {}, label="a")
    for step in (1, 2, 3):
        logger.log_metrics({"loss": 1 / step}, step)
    assert lines(logger.file)[-1] == {"label": "a", "iteration": 3, "loss": 1 / 3}
    logger.cut(2)
    assert [line["iteration"] for line in lines(logger.file)] == [1, 2]


def test_a_run_is_written_down(tmp_path: Path) -> None:
    use_own_folder(CONFIG)
    words = ["experiment=digits_VAE", "train_for=3 iterations", "logging=Mine", "callbacks=null"]
    config = compose([*words, f"device.experiments_root={tmp_path}"])
    assert train(config, words) == 0
    (file,) = tmp_path.glob("*/*/Mine.jsonl")
    assert lines(file)[-1]["iteration"] == 3
