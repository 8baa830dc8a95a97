"""Checkpoints: the last state, from which a run goes on bit for bit, and the best weights."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import Measurement, Monitor, optimization_of, say
from frame.files import write_whole
from frame.optimization.base import Optimization
from frame.units import Duration

FORMAT = 1


class LastCheckpoint(Callback):
    """Writes checkpoints/last.ckpt each `every` and at the end, on optimizer steps; previous.ckpt is the one before.

    It stands last among the callbacks, so that what the others did in a batch is in it.
    """

    def __init__(self, folder: Path, every: Duration | None, resumed: dict[str, Any] | None = None) -> None:
        self.folder, self.every = folder, every
        self.next_at = 0.0
        self.saved_at = -1
        self.resumed = resumed

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimization = optimization_of(pl_module)
        if self.resumed is not None:
            restore(self.resumed, trainer, optimization)
            self.saved_at = int(optimization.counters["iterations"])
            self.resumed = None
        if self.every is not None:
            self.next_at = self.every.next_after(optimization.counters[self.every.counter])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        optimization = optimization_of(pl_module)
        counters = optimization.counters
        if self.every is not None and optimization.accumulated == 0 and counters[self.every.counter] >= self.next_at:
            self.next_at = self.every.next_after(counters[self.every.counter])
            self.save(trainer, optimization)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimization = optimization_of(pl_module)
        self.save(trainer, optimization)

    def save(self, trainer: Trainer, optimization: Optimization) -> None:
        """Writes now; a full disk is said, and training goes on with the former checkpoint in place."""
        optimization.check_finite()
        if not trainer.is_global_zero:
            return
        with optimization.clock.paused():
            for logger in trainer.loggers:
                logger.save()  # what was measured before a checkpoint is on disk before it
            target = self.folder / "last.ckpt"
            # the first save after a resume or an end may repeat the state that is there: it is kept only once
            keep = self.folder / "previous.ckpt" if self.saved_at != optimization.counters["iterations"] else None
            if _write(target, state_of(trainer, optimization), keep):
                self.saved_at = int(optimization.counters["iterations"])


class BestCheckpoint(Monitor):
    """Keeps checkpoints/best.ckpt: the very weights that gave the best measurement (not enough to resume from)."""

    def __init__(self, folder: Path, monitor: str, mode: str | None = None) -> None:
        super().__init__(monitor, mode)
        self.folder = folder

    def act(self, trainer: Trainer, optimization: Optimization, measurement: Measurement, improved: bool) -> None:
        if improved and trainer.is_global_zero:
            state = optimization.training_state()
            kept = {key: state[key] for key in ("model", "average", "counters")}
            with optimization.clock.paused():
                _write(
                    self.folder / "best.ckpt", {"format": FORMAT, **kept, "measurement": measurement.as_dict()}, None
                )


def state_of(trainer: Trainer, optimization: Optimization) -> dict[str, Any]:
    """All of a run's state: tensors and plain containers, readable with `weights_only=True`."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    states = {callback.state_key: callback.state_dict() for callback in callbacks}
    loader: Any = trainer.train_dataloader
    return {
        "format": FORMAT,
        **optimization.training_state(),
        "loader": loader.state_dict(),
        "callbacks": {key: state for key, state in states.items() if state},
    }


def restore(state: dict[str, Any], trainer: Trainer, optimization: Optimization) -> None:
    """Puts a run's state back; the trainer has its optimizers and its loader already."""
    optimization.load_training_state(state)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if callback.state_key in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][callback.state_key])


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint; nothing in it is executed."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def _write(path: Path, state: dict[str, Any], keep: Path | None) -> bool:
    try:
        write_whole(path, lambda stream: torch.save(state, stream), keep=keep)
    except (OSError, RuntimeError) as error:  # torch wraps a short write in a RuntimeError
        say(f"{path} could not be written ({error}); training goes on, the former checkpoint stays")
        return False
    return True
