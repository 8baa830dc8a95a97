"""How long a run trains."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import optimization_of
from frame.common.durations import Duration
from frame.optimization.base import Optimization


class TrainDuration(Callback):
    """Stops training at the first of its limits. It acts first, so that other callbacks see the last step."""

    def __init__(self, limits: Sequence[Duration]) -> None:
        self.limits = list(limits)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # a run that was killed after its last step has only its end left
        self._stop_if_reached(trainer, pl_module)

    def is_due(self, optimization: Optimization) -> bool:
        return any(limit.reached(optimization.counters) for limit in self.limits)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._stop_if_reached(trainer, pl_module)

    def _stop_if_reached(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.is_due(optimization_of(pl_module)):
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        optimization = optimization_of(pl_module)
        optimization.clock.stop()
        optimization.flush()  # does nothing after a signal, which waits for an optimizer step

    def progress(self, counters: dict[str, float]) -> tuple[Duration, float]:
        """The limit that will be reached first, and the share of it that is done."""
        shares = [min(1.0, counters[limit.counter] / limit.amount) for limit in self.limits]
        nearest = max(range(len(shares)), key=shares.__getitem__)
        return self.limits[nearest], shares[nearest]
