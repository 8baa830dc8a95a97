"""Fitting a procedure without a run: no folder, no logger."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from frame.callbacks.duration import TrainDuration
from frame.common.durations import Duration
from frame.data.base import Source
from frame.data.loader import Loader
from frame.optimization.base import Optimization


def fit(optimization: Optimization, source: Source, iterations: int, tmp_path: Path, **options: Any) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[TrainDuration([Duration(iterations, "iterations")])],
        **options,
    )
    trainer.fit(optimization, Loader(source, optimization.batch_size, 0))
    return trainer
