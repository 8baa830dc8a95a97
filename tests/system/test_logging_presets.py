"""config/logging, config/device and config/debug on the command line."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import config_folder
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved

DEVICE_KEYS = {
    "data_root",
    "big_data_root",
    "experiments_root",
    "download_files",
    "num_workers",
    "memory_for_data",
    "gpus",
}


@pytest.fixture(autouse=True)
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEVICE_NAME", raising=False)
    monkeypatch.delenv("DATA_ROOT", raising=False)


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ([], ["wandb"]),
        (["logging=wandb"], ["wandb"]),
        (["logging=tensorboard"], ["tensorboard"]),
        (["logging=csv"], []),
        (["logging=[]"], []),
        (["logging=[wandb,tensorboard]"], ["wandb", "tensorboard"]),
        (["logging=[csv,tensorboard]"], ["tensorboard"]),
        (["debug=fast"], []),
        (["debug=fast", "logging=tensorboard"], ["tensorboard"]),
    ],
)
def test_one_logger_several_or_none(typed: list[str], keys: list[str]) -> None:
    assert list(compose(["experiment=digits_VAE", *typed]).get("logging") or {}) == keys


def test_a_loggers_keys_can_be_set() -> None:
    config = compose(["experiment=digits_VAE", "logging.wandb.project=mine", "logging.wandb.name=a name"])
    assert (config.logging.wandb.project, config.logging.wandb.name) == ("mine", "a name")


def test_an_unknown_logger_is_an_error_that_names_the_valid_ones() -> None:
    with pytest.raises(UserError, match="'tensorbord': did you mean 'tensorboard'.*csv, tensorboard, wandb"):
        compose(["experiment=digits_VAE", "logging=tensorbord"])


@pytest.mark.parametrize("file", sorted((config_folder() / "logging").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_loggers_keys_are_its_constructors_arguments(file: Path) -> None:
    for name, node in (yaml.safe_load(file.read_text()) or {}).items():
        assert name == file.stem
        module, _, cls = node.pop("_target_").rpartition(".")
        parameters = inspect.signature(getattr(importlib.import_module(module), cls)).parameters
        assert {"folder", "config", *node} <= set(parameters)


def test_a_logger_is_built_from_its_file_with_the_config_as_it_is(tmp_path: Path) -> None:
    node = compose(["experiment=digits_VAE", "logging=tensorboard"]).logging.tensorboard
    config = {"model": {"_target_": "frame.models.VAE.VAE"}, "params": {"beta": 0.5}}
    logger = instantiate(resolved(node), folder=tmp_path, config=config)
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.finalize("success")
    assert logger.config is config and len(list(tmp_path.glob("tensorboard/events*"))) == 1


@pytest.mark.parametrize("name", ["local", "workstation"])
def test_a_device_has_all_the_keys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE_NAME", name)
    assert set(compose(["experiment=digits_VAE"]).device) == DEVICE_KEYS


def test_the_workstation_is_the_documents_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE_NAME", "workstation")
    assert compose(["experiment=digits_VAE"]).device == {
        "data_root": "/ssdstore/data",
        "big_data_root": "/hddstore/data",
        "experiments_root": "/hddstore",
        "download_files": True,
        "num_workers": 32,
        "memory_for_data": "auto",  # the document's file has none
        "gpus": 4,
    }


def test_the_local_device_needs_nothing_and_honours_the_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    device = compose(["experiment=digits_VAE"]).device
    assert (device.data_root, device.big_data_root, device.gpus) == ("./data", "./data", "auto")
    monkeypatch.setenv("DATA_ROOT", "/elsewhere")
    device = compose(["experiment=digits_VAE"]).device
    assert device.data_root == device.big_data_root == "/elsewhere"


def test_an_unknown_device_is_an_error_that_names_the_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE_NAME", "workstatoin")
    with pytest.raises(UserError, match="'workstatoin': did you mean 'workstation'.*local, workstation"):
        compose(["experiment=digits_VAE"])


@pytest.mark.parametrize(("preset", "length"), [("fast", "1 iter"), ("overfit", "200 iter"), ("profile", "50 iter")])
def test_a_debug_preset_wins_over_the_experiment_wherever_it_is_typed(preset: str, length: str) -> None:
    for typed in (["debug=" + preset, "+experiment=MNIST_VAE"], ["+experiment=MNIST_VAE", "debug=" + preset]):
        config = compose(typed)
        assert config.train_for.startswith(length)
        assert [config.trainer[key] for key in ("max_epochs", "max_steps", "max_time")] == [None] * 3


def test_composing_imports_no_logger() -> None:
    code = (
        "import sys; from frame.composition.compose import compose; compose(['experiment=digits_VAE'])\n"
        "print([m for m in ('torch', 'lightning', 'wandb', 'tensorboard', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=config_folder().parent)
    assert done.stdout.strip() == "[]", done.stderr
