"""Fits a procedure without a run, a folder or a logger."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import Due
from frame.callbacks.duration import TrainDuration
from frame.common.durations import Duration
from frame.data.base import Source
from frame.data.loader import Loader
from frame.optimization.base import Optimization
from frame.optimization.stretches import Stretches


class Restore(Callback):
    """Restores a procedure's state once its optimizers exist."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Optimization)
        pl_module.load_training_state(self.state)


def fit(
    optimization: Optimization,
    source: Source,
    iterations: int,
    tmp_path: Path,
    length: int | None = None,
    state: dict[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    stretches: bool = True,
    **options: Any,
) -> Trainer:
    """Trains up to `iterations` of a run of `length` iterations (None: the same), starting at `state`."""
    every = [TrainDuration([Duration(iterations, "iterations")]), *([Restore(state)] if state else []), *callbacks]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=every,
        **options,
    )
    loader = Loader(source, optimization.batch_size, 0)
    if state is not None:
        done = int(state["counters"]["iterations"])
        loader.load_state_dict({"epoch": done // len(loader), "position": done % len(loader)})
    optimization.bind([Duration(length or iterations, "iterations")], loader)
    optimization.watchers = [callback.is_due for callback in every if isinstance(callback, Due)]
    trainer.fit(optimization, Stretches(loader) if stretches else loader)
    return trainer
