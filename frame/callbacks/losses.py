"""Writes training losses directly to the loggers: `self.log` would cost 0.3 ms per key and step."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import ReadsLosses, optimization_of
from frame.optimization.base import Optimization
from frame.runs.names import apart


class LossLog(Callback):
    """Writes the means of losses since the last time, and scheduled values, each `every` iterations and at the end.

    With `every` 0, as in Lightning, it writes only at the end.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.newest: dict[str, float] = {}

    def is_due(self, optimization: Optimization) -> bool:
        if self.every:
            return optimization.counters["iterations"] % self.every == 0
        return len(optimization.recent) >= 1000

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if not self.is_due(optimization_of(pl_module)):
            return
        if self.every:
            self.write(trainer, pl_module)
        else:
            self.newest = optimization_of(pl_module).losses()  # not logged; read so that they do not accumulate

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not optimization_of(pl_module).stop_signal:  # after a signal the checkpoint keeps them for the resumed run
            self.write(trainer, pl_module)

    def write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimization = optimization_of(pl_module)
        if not optimization.recent:
            return
        self.newest = optimization.losses()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ReadsLosses):
                callback.on_losses(trainer, optimization, self.newest)
        if trainer.is_global_zero:
            options, weights = optimization.options(), optimization.coefficients()
            when = {key: optimization.counters[key] for key in ("seconds", "epochs")}
            iteration = int(optimization.counters["iterations"])
            events = (name for event in optimization.events.values() for name in event["values"])
            taken = {"iteration", *when, *options, *weights, *events}
            losses = {apart(name, taken): value for name, value in self.newest.items()}
            for logger in trainer.loggers:
                logger.log_metrics({**when, **losses, **options, **weights}, step=iteration)
