"""The experiment Mine composes and trains."""

from pathlib import Path

from frame.composition.compose import compose
from frame.composition.folders import use_own_folder
from frame.engine.experiment import train

CONFIG = Path(__file__).parents[1] / "config"


def test_it_trains(tmp_path: Path) -> None:
    use_own_folder(CONFIG)
    words = ["experiment=Mine", "train_for=3 iterations", "logging=csv"]
    config = compose([*words, f"device.experiments_root={tmp_path}"])
    assert train(config, words) == 0
