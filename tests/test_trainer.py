"""What is typed for Lightning's Trainer is translated, not ignored."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from frame.callbacks.checkpoints import read
from frame.mistakes import Mistake
from frame.trainer import translate
from frame.units import Duration, limits_of
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
    with pytest.raises(Mistake, match="DD:HH:MM:SS"):
        limits(max_time="2 minutes")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [("fast_dev_run", True, "debug=fast"), ("overfit_batches", 1, "debug=overfit"), ("precision", "16-mixed", "bf16")],
)
def test_what_has_no_translation_names_what_to_write(key: str, value: object, says: str) -> None:
    with pytest.raises(Mistake, match=says):
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
