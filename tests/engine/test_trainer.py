"""Settings of Lightning's Trainer are translated, not ignored."""

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from frame.callbacks.checkpoints import read
from frame.common.durations import Duration, limits_of
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.trainer_settings import SETTINGS, check_trainer
from frame.engine.trainer import STARTED, make_trainer, translate
from frame.optimization.captured import Captured
from frame.optimization.execution import Eager
from tests.processes import only_run, train


def test_accumulation_clipping_and_limits_reach_the_optimization(tmp_path: Path) -> None:
    words = ["+trainer.accumulate_grad_batches=4", "+trainer.gradient_clip_val=0.001", "+trainer.max_steps=16"]
    words += ["+trainer.limit_train_batches=8", "optimization.optimizer._target_=torch.optim.SGD", "params.lr=1.0"]
    code, output = train(["experiment=tiny", "callbacks=null", *words], tmp_path)
    assert code == 0, output
    state = read(only_run(tmp_path) / "checkpoints" / "last.ckpt")
    assert state["counters"]["updates"] == 4 and state["counters"]["epochs"] == 2
    first = tmp_path / "first"
    first.mkdir()
    code, output = train(["experiment=tiny", "callbacks=null", *words, "+trainer.max_steps=1", "params.lr=1e-9"], first)
    assert code == 0, output
    start = read(only_run(first) / "checkpoints" / "last.ckpt")["model"]
    # four steps of rate 1, each no longer than 0.001
    moved = sum((state["model"][k] - start[k]).square().sum() for k in start) ** 0.5
    assert 0 < moved <= 4 * 0.001 * 1.001


def test_bf16_trains_with_float32_weights(tmp_path: Path) -> None:
    code, output = train(["experiment=tiny", "+trainer.precision=bf16-mixed", "train_for=2 epochs"], tmp_path)
    assert code == 0, output
    state = read(only_run(tmp_path) / "checkpoints" / "last.ckpt")
    assert {w.dtype for w in state["model"].values()} == {torch.float32}
    elbo = pd.read_csv(only_run(tmp_path) / "metrics.csv")["ELBO/Validation"].dropna()
    assert elbo.iloc[-1] > elbo.iloc[0]


def test_an_explicit_limit_replaces_train_for() -> None:
    def limits(**trainer: object) -> list[Duration]:
        return limits_of(OmegaConf.create({"train_for": "10 epochs", "trainer": trainer}))

    assert limits() == [Duration(10, "epochs")]
    assert limits(max_epochs=-1) == [Duration(10, "epochs")]
    assert limits(max_epochs=3) == [Duration(3, "epochs")]
    assert limits(max_epochs=3, max_steps=7) == [Duration(3, "epochs"), Duration(7, "iterations")]
    assert limits(max_time="01:02:03:04") == [Duration(93784, "seconds")]
    assert limits(max_time={"minutes": 2}) == [Duration(120, "seconds")]
    with pytest.raises(UserError, match="DD:HH:MM:SS"):
        limits(max_time="2 minutes")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [("fast_dev_run", True, "debug=fast"), ("overfit_batches", 1, "debug=overfit"), ("precision", "16-mixed", "bf16")],
)
def test_an_error_without_a_translation_says_what_to_write(key: str, value: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        translate(OmegaConf.create({"trainer": {key: value}}))


def test_callbacks_and_loggers_of_lightning_work(tmp_path: Path) -> None:
    rates = "+callbacks.rates={_target_: lightning.pytorch.callbacks.LearningRateMonitor, logging_interval: step}"
    theirs = f"+logging.theirs={{_target_: lightning.pytorch.loggers.CSVLogger, save_dir: {tmp_path}}}"
    code, output = train(["experiment=tiny", rates, theirs], tmp_path)
    assert code == 0, output
    (file,) = tmp_path.glob("lightning_logs/version_0/metrics.csv")
    logged = pd.read_csv(file)
    assert logged["ELBO/Validation"].notna().sum() == 6 and logged["loss"].notna().any()
    ours = pd.read_csv(only_run(tmp_path) / "metrics.csv")
    assert "lr-Adam" in ours.columns


def test_every_argument_of_lightnings_trainer_is_decided() -> None:
    """New arguments of a new version must be decided here."""
    assert set(SETTINGS) == set(inspect.signature(Trainer).parameters)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("min_steps", 7, "exactly as long as train_for"),
        ("min_epochs", 7, "exactly as long as train_for"),
        ("accumulate_grad_batches", 1.5, "write a whole number, at least 1"),
        ("accumulate_grad_batches", 0, "write a whole number, at least 1"),
        ("accumulate_grad_batches", True, "write a whole number, at least 1"),
        ("accumulate_grad_batches", {0: 2}, "write a whole number, at least 1"),
        ("gradient_clip_val", -1, "must be above 0"),
        ("gradient_clip_val", float("nan"), "must be above 0"),
        ("gradient_clip_val", float("inf"), "must be above 0"),
        ("gradient_clip_algorithm", "value", "norm"),
        ("limit_train_batches", 1.5, "a part of them in (0, 1]"),
        ("limit_train_batches", 0, "a part of them in (0, 1]"),
        ("limit_train_batches", True, "a part of them in (0, 1]"),
        ("log_every_n_steps", -1, "write a whole number"),
        ("max_epochs", "many", "write a whole number"),
        ("devices", 0, "write a whole number"),
        ("devices", 1.5, "write a whole number"),
        ("devices", [], "write a whole number"),
        ("devices", "two", "write a whole number"),
        ("num_nodes", 0, "write a whole number"),
        ("strategy", "ddp_spawn", "did you mean"),
        ("strategy", "fsdp", "did you mean 'fsdp2'?"),
        ("precision", "16-mixed", "bf16-mixed"),
        ("precision", 17, "no choice '17'"),
        ("precision", "64-true", "batches come in float32"),
        ("precision", "bf16-true", "batches come in float32"),
        ("deterministic", "yes", "warn"),
        ("detect_anomaly", 1, "write true or false"),
        ("profiler", "pytroch", "simple"),
        ("fast_dev_run", True, "debug=fast"),
        ("val_check_interval", 0.5, "evaluate_every"),
        ("logger", False, "logging=[csv]"),
        ("callbacks", [], "a section of their own"),
        ("enable_checkpointing", True, "checkpoint.every"),
        ("enable_progress_bar", False, "leave it out"),
        ("reload_dataloaders_every_n_epochs", 1, "leave it out"),
        ("default_root_dir", "x", "device.experiments_root"),
        ("max_epoch", 3, "did you mean 'max_epochs'?"),
    ],
)
def test_a_setting_that_would_silently_change_a_run_is_refused(key: str, value: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        check_trainer({key: value})
    assert says in str(error.value) and str(error.value).startswith(f"trainer.{key}") and "\n" not in str(error.value)


def test_null_is_no_setting_and_what_is_right_passes() -> None:
    check_trainer(dict.fromkeys(SETTINGS))
    check_trainer({"devices": 2, "strategy": "ddp", "precision": 32, "max_steps": -1, "limit_train_batches": 0.5})
    check_trainer({"devices": "auto", "precision": "bf16-mixed", "deterministic": "warn", "log_every_n_steps": 0})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trainer.devices=99", "device.gpus=0"], "trainer.devices=99: that many processes only wait for one another"),
        (["+optimization.optimizer.betas=[2,2]"], "Invalid beta"),
        (["optimization.optimizer._target_=torch.optim.SparseAdam", "~optimization.optimizer.fused"], "optimization: "),
        (["params.lr=nan"], "params.lr=nan: write a finite number"),
        (["+optimization.optimizer.amsgrad=maybe"], "amsgrad"),
    ],
)
def test_settings_that_cannot_train_are_found_before_the_folder(words: list[str], says: str, tmp_path: Path) -> None:
    code, output = train(["experiment=tiny", "callbacks=null", *words], tmp_path)
    assert code == 2 and says in output and output.count("\n") == 1, output
    assert not (tmp_path / "runs").exists()


def test_several_nodes_need_something_that_starts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STARTED:
        monkeypatch.delenv(name, raising=False)
    unknown: Any = None
    with pytest.raises(UserError, match="trainer.num_nodes=2: it would wait for the other nodes.*launcher=submitit"):
        make_trainer(compose(["experiment=digits_VAE", "device.gpus=0"]), {"num_nodes": 2}, unknown)


@pytest.mark.parametrize(
    ("execution", "settings", "says"),
    [
        (Captured(), {}, "execution=captured takes whole parameters, and trainer.strategy=fsdp2 splits them"),
        (Eager(), {"sync_batchnorm": True}, "trainer.sync_batchnorm has no effect with trainer.strategy=fsdp2"),
    ],
)
def test_what_needs_whole_parameters_is_refused_with_parts(
    execution: Eager, settings: dict[str, Any], says: str
) -> None:
    optimization: Any = SimpleNamespace(execution=execution)
    config = compose(["experiment=digits_VAE", "device.gpus=0"])
    with pytest.raises(UserError, match=says):
        make_trainer(config, {"devices": 2, "strategy": "fsdp2", **settings}, optimization)


def test_one_process_has_no_parts() -> None:
    optimization: Any = SimpleNamespace(execution=Eager(), find_unused_parameters=False)
    make_trainer(compose(["experiment=digits_VAE", "device.gpus=0"]), {"strategy": "fsdp2"}, optimization)
    assert type(optimization.execution) is Eager
