import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from frame.composition.compose import compose
from frame.composition.folders import config_folder
from tests import wandb_tools

SWEEPS = config_folder().parent / "sweeps"
SWEEP = SWEEPS / "VAE_MNIST.yaml"


def test_both_endings_are_one_sweep() -> None:
    assert SWEEP.read_text() == (SWEEPS / "VAE_MNIST.yml").read_text()


def test_the_sweep_maximizes_a_number_that_its_experiment_logs() -> None:
    sweep = yaml.safe_load(SWEEP.read_text())
    assert sweep["method"] == "bayes" and sweep["metric"] == {"goal": "maximize", "name": "ELBO/Validation"}
    # W&B's log_uniform takes exponents of e, and numbers, not text
    assert sweep["parameters"] == {"params.beta": {"distribution": "log_uniform", "min": -20, "max": 2}}
    experiment = compose(wandb_tools.hydra_overrides(wandb_tools.agent_command(SWEEP, {})))
    callbacks = experiment.callbacks.values()
    assert "ELBO/Validation" in [callback.get("name") for callback in callbacks]


def test_the_agents_command_is_the_documents() -> None:
    assert wandb_tools.agent_command(SWEEP, {"params.beta": 1e-05}) == [
        "/usr/bin/env",
        "python",
        "train.py",
        "+experiment=MNIST_VAE",
        "+trainer.max_epochs=10",
        "params.beta=1e-05",
    ]


def test_the_agents_command_composes() -> None:
    config = compose(
        wandb_tools.hydra_overrides(wandb_tools.agent_command(SWEEP, {"params.beta": 2.061153622438558e-09}))
    )
    assert config.params.beta == 2.061153622438558e-09
    assert config.trainer.max_epochs == 10 and config.experiment_name == "MNIST_VAE"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("params.lr", 1e-05),
        ("params.lr", 0.1),
        ("params.encoder_layers", [32, 64]),
        ("params.batch_size", 256),
        ("device.download_files", False),
        ("device.download_files", True),
        ("experiment_name", "a b"),
    ],
)
def test_values_of_all_kinds_arrive_unchanged(key: str, value: Any) -> None:
    config = compose(wandb_tools.hydra_overrides(wandb_tools.agent_command(SWEEP, {key: value})))
    group, _, name = key.rpartition(".")
    found = (config[group] if group else config)[name]
    assert found == value and type(found) is type(value) or list(found) == value


@pytest.mark.filterwarnings("ignore:unclosed file .*sweep.yaml:ResourceWarning")  # wandb leaves it open
def test_wandb_itself_reads_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from wandb.sdk.launch.sweeps.utils import load_sweep_config

    copy = shutil.copy(SWEEP, tmp_path / "sweep.yaml")
    assert load_sweep_config(str(copy)) == yaml.safe_load(SWEEP.read_text())
    assert capsys.readouterr().err == ""
