"""Early ends: no more improvement, or a signal."""

import os
import signal
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import Measurement, Monitor, optimization_of
from frame.mistakes import Mistake
from frame.optimization.base import Optimization
from frame.output import say


class EarlyStopping(Monitor):
    """Stops when `patience` measurements in a row have brought no improvement.

    Args:
        monitor, mode, min_delta: as for every monitor.
        patience: measurements (not epochs) without improvement that are borne.
    """

    def __init__(self, monitor: str, patience: int = 3, mode: str | None = None, min_delta: float = 0.0) -> None:
        super().__init__(monitor, mode, min_delta)
        if patience < 1:
            raise Mistake(f"EarlyStopping: patience={patience} has to be at least 1")
        self.patience = patience

    def act(self, trainer: Trainer, optimization: Optimization, measurement: Measurement, improved: bool) -> None:
        if self.waited >= self.patience:
            trainer.should_stop = True
            if trainer.is_global_zero:
                say(f"{self.monitor} has not improved in {self.waited} measurements: stopping early")


class StopOnSignal(Callback):
    """SIGTERM or Ctrl-C ends training at the next optimizer's step, so that it can be resumed; the second kills."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._received = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in self.SIGNALS:
            self._before[number] = signal.getsignal(number)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning sets handlers of its own just before: these come after them
        optimization = optimization_of(pl_module)

        def handle(number: int, frame: FrameType | None) -> None:
            if self._received:
                os._exit(128 + number)
            self._received = number
            optimization.stop_signal = number
            for child in getattr(trainer.strategy.launcher, "procs", []):
                if number == signal.SIGTERM:  # a terminal sends Ctrl-C to the children itself
                    child.send_signal(number)
            if trainer.is_global_zero:
                say(f"{signal.Signals(number).name}: stopping after this step (once more kills)")

        for number in self.SIGNALS:
            signal.signal(number, handle)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        optimization = optimization_of(pl_module)
        if optimization.stop_signal and optimization.accumulated == 0:
            trainer.should_stop = True

    def restore(self) -> None:
        """Puts back the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
