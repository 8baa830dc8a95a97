"""How config files lie over each other. The three rules themselves are tested with what is typed, in test_chosen.py."""

from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import open_dict

from frame.common.errors import UserError
from frame.composition.compose import compose, ready
from frame.composition.folders import config_folder, use_own_folder
from frame.composition.layers import Layers


@pytest.mark.parametrize(
    "words",
    [
        ["+experiment=MNIST_VAE", "params.beta=3", "++trainer.max_epochs=2", "~train_for"],
        ["+experiment=digits_VAE", "data=gaussians", "logging=[csv,tensorboard]", "+debug=fast"],
        ["+model=VAE", "~device", "+data=digits"],
    ],
    ids=" ".join,
)
def test_a_config_is_the_one_that_hydra_composes_with_its_own_settings(words: list[str]) -> None:
    ready()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        hydra: Any = GlobalHydra.instance().hydra
        layers = Layers(hydra.config_loader.get_search_path())
        theirs = layers.load_configuration("config", words, RunMode.RUN)
        ours = layers.composed("config", words)
    with open_dict(theirs):
        del theirs["hydra"]
    assert ours == theirs and list(ours) == list(theirs) and ours._get_flag("struct") is theirs._get_flag("struct")


def test_an_experiment_that_changes_hydras_settings_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config/experiment").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [digits_VAE, override /hydra/job_logging: none]\n"
    (tmp_path / "config/experiment/mine.yaml").write_text(text)
    use_own_folder(tmp_path / "config")
    with pytest.raises(UserError, match="config/experiment/mine.yaml: hydra/job_logging: Hydra only composes here"):
        compose(["experiment=mine"])
