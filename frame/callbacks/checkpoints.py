"""Writes checkpoints: the last state, from which a run continues bit for bit, and the best weights."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch as torch
from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import Measurement, Monitor, optimization_of
from frame.common.durations import Duration
from frame.common.errors import Unread
from frame.common.output import say
from frame.optimization.base import Optimization
from frame.runs import parts
from frame.runs.checkpoints import FORMAT, write
from frame.runs.checkpoints import read as read


class LastCheckpoint(Callback):
    """Writes checkpoints/last.ckpt each `every`, on optimizer steps, and at the end; previous.ckpt is the one before.

    It is the last callback, so that a checkpoint contains what the others did in the batch.
    """

    def __init__(
        self,
        folder: Path,
        every: Duration | None,
        resumed: dict[str, Any] | None = None,
        limits: Sequence[Duration] = (),
    ) -> None:
        self.folder, self.every = folder, every
        self.limits = [str(limit) for limit in limits]
        self.next_at = 0.0
        self.resumed = resumed
        # the counters of the state on disk, and why the newest state is not there
        self.saved: dict[str, float] | None = dict(resumed["counters"]) if resumed is not None else None
        self.unwritten = ""
        self.ended: list[str] | None = resumed["ended"] if resumed is not None else None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimization = optimization_of(pl_module)
        if self.resumed is not None:
            parts.fill(self.resumed, optimization.execution.empty)
            restore(self.resumed, trainer, optimization)
            self.resumed.clear()  # whoever started the run holds it, and would keep its weights in memory
            self.resumed = None
        if self.every is not None:
            self.next_at = self.every.next_after(optimization.counters[self.every.counter])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.ended == self.limits:  # stopped early: only its end is left; with other limits it trains on
            trainer.should_stop = True
        self.ended = None

    def is_due(self, optimization: Optimization) -> bool:
        if self.every is None or optimization.accumulated:
            return False
        return optimization.counters[self.every.counter] >= self.next_at

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        optimization = optimization_of(pl_module)
        if self.every is not None and self.is_due(optimization):
            self.next_at = self.every.next_after(optimization.counters[self.every.counter])
            self.save(trainer, optimization)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimization = optimization_of(pl_module)
        self.save(trainer, optimization)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        optimization = optimization_of(pl_module)
        # before the state is restored there is nothing to save; within an accumulation the former checkpoint stays
        # and ranks that hold parts of the state may not all have this exception
        can = self.resumed is None and not optimization.accumulated and not optimization.execution.in_parts
        if isinstance(exception, Unread) and can:
            self.save(trainer, optimization)

    def save(self, trainer: Trainer, optimization: Optimization) -> None:
        """Writes now. If that fails, a line says so, the former checkpoint stays and training continues."""
        optimization.check_finite()
        # rank 0 alone writes, unless each rank holds a part; without a run's folder there is nothing to keep
        if not optimization.execution.in_parts and (not trainer.is_global_zero or self.folder == Path()):
            return
        with optimization.clock.paused():
            for logger in trainer.loggers:
                logger.save()  # measurements must be on disk before the checkpoint that follows them
            # the first save after a resume or an end may repeat the state on disk, which is then kept only once
            repeated = self.saved is not None and self.saved["iterations"] == optimization.counters["iterations"]
            keep = None if repeated else self.folder / "previous.ckpt"
            state = state_of(trainer, optimization)
            state["ended"] = self.limits if trainer.should_stop and not optimization.interrupted else None
            self.unwritten = _write(self.folder / "last.ckpt", state, keep, in_parts=optimization.execution.in_parts)
            if not self.unwritten:
                self.saved = dict(optimization.counters)


class BestCheckpoint(Monitor):
    """Keeps checkpoints/best.ckpt: the weights that gave the best measurement (not enough to resume from).

    Weights that cannot be written now are written later; the last checkpoint keeps them, too.
    """

    def __init__(self, folder: Path, monitor: str, mode: str | None = None) -> None:
        super().__init__(monitor, mode)
        self.folder = folder
        self.waiting: dict[str, Any] | None = None
        self.unwritten = ""  # why weights could not be written

    def act(self, trainer: Trainer, optimization: Optimization, measurement: Measurement, improved: bool) -> None:
        if improved and (trainer.is_global_zero or optimization.execution.in_parts):
            state = optimization.training_state()
            kept = {key: state[key] for key in ("model", "average", "counters")}
            self.waiting = {"format": FORMAT, **kept, "measurement": measurement.as_dict()}
            if not self._write(optimization):
                self.waiting = deepcopy(self.waiting)  # training changes these tensors
        elif self.waiting is not None:
            self._write(optimization)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.waiting is not None:
            self._write(optimization_of(pl_module))

    def _write(self, optimization: Optimization) -> bool:
        assert self.waiting is not None
        with optimization.clock.paused():
            in_parts = optimization.execution.in_parts
            if in_parts or self.folder != Path():  # as LastCheckpoint
                self.unwritten = _write(self.folder / "best.ckpt", self.waiting, None, in_parts=in_parts)
        if not self.unwritten:
            self.waiting = None
        return not self.unwritten

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "waiting": self.waiting}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.waiting = state_dict["waiting"]


def state_of(trainer: Trainer, optimization: Optimization) -> dict[str, Any]:
    """A run's whole state in tensors and plain containers, readable with `weights_only=True`."""
    states = {key: callback.state_dict() for key, callback in _by_key(trainer).items()}
    loader: Any = trainer.train_dataloader
    return {
        "format": FORMAT,
        **optimization.training_state(),
        "loader": loader.state_dict(),
        "callbacks": {key: state for key, state in states.items() if state},
    }


def restore(state: dict[str, Any], trainer: Trainer, optimization: Optimization) -> None:
    """Restores a run's state; the trainer has its optimizers and its loader already."""
    optimization.load_training_state(state)
    for key, callback in _by_key(trainer).items():
        if key in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][key])


def _by_key(trainer: Trainer) -> dict[str, Callback]:
    """The callbacks by their state_key; equal keys are numbered in the config's order, which a resumed run shares."""
    found: dict[str, Callback] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        key, number = callback.state_key, 2
        while key in found:
            key, number = f"{callback.state_key} ({number})", number + 1
        found[key] = callback
    return found


def _write(path: Path, state: dict[str, Any], keep: Path | None, in_parts: bool) -> str:
    """Returns why the checkpoint could not be written, or ''."""
    reason = ""
    if in_parts:
        reason = parts.write(path, state, lambda rest: write(path, rest, keep=keep))
    else:
        try:
            write(path, state, keep=keep)
        except OSError as error:
            reason = error.strerror or str(error)
    if reason and path.parent != Path():
        say(f"{path} could not be written ({reason}); training goes on, the former checkpoint stays")
    return f"{path} could not be written: {reason}" if reason else ""
