"""Ends training early: after no improvement, or on a signal."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import Measurement, Monitor, optimization_of
from frame.common.errors import UserError
from frame.common.interrupts import Interrupted
from frame.common.numbers import counted
from frame.common.output import say
from frame.optimization.base import Optimization


class EarlyStopping(Monitor):
    """Stops training after `patience` measurements in a row without improvement.

    Args:
        monitor, mode, min_delta: as for every monitor.
        patience: measurements (not epochs) in a row without improvement after which training stops.
    """

    def __init__(self, monitor: str, patience: int = 3, mode: str | None = None, min_delta: float = 0.0) -> None:
        super().__init__(monitor, mode, min_delta)
        if patience < 1:
            raise UserError(f"EarlyStopping: patience={patience} must be at least 1")
        self.patience = patience

    def act(self, trainer: Trainer, optimization: Optimization, measurement: Measurement, improved: bool) -> None:
        if self.waited >= self.patience:
            trainer.should_stop = True
            if trainer.is_global_zero:
                say(f"{self.monitor} has not improved in {counted(self.waited, 'measurements')}: stopping early")


class Signals(Callback):
    """Notes SIGTERM, SIGHUP and Ctrl-C, so that a run can save and end; a second signal ends it at once.

    It acts within `with`, from the creation of a run's folder until its status is written. Under nohup SIGHUP stays
    ignored. It is the first callback, because Lightning sets its own handler just before.

    Args:
        trainer, optimization: the run's.
        kills: whether a second signal ends the process; else it raises KeyboardInterrupt.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self, trainer: Trainer, optimization: Optimization, kills: bool = True) -> None:
        self.trainer, self.optimization, self.kills = trainer, optimization, kills
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other
            for number in self.NUMBERS:
                handler = signal.getsignal(number)
                if number != signal.SIGHUP or handler is not signal.SIG_IGN:
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in self._before:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.optimization.noticed_signal:
            for child in getattr(self.trainer.strategy.launcher, "procs", []):
                child.kill()
            if not self.kills:
                raise Interrupted(number)
            os._exit(128 + number)
        # not sent to other ranks: a scheduler may have signalled them already, and a second signal kills
        self.optimization.noticed_signal = number
        if self.trainer.is_global_zero:
            more = "kills" if self.kills else "stops at once"
            say(f"{signal.Signals(number).name}: stopping after this step (once more {more})")
        if self.optimization.measuring:
            raise Interrupted(number)  # an evaluation may take minutes; the resumed run repeats it


class StopOnSignal(Callback):
    """Ends training at the next optimizer step after a signal, unless it ends there anyway."""

    def is_due(self, optimization: Optimization) -> bool:
        return optimization.stop_signal != 0 and optimization.accumulated == 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_batch_end(trainer, pl_module)  # the first evaluation was interrupted

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        optimization = optimization_of(pl_module)
        if self.is_due(optimization) and not trainer.should_stop:
            optimization.interrupted = trainer.should_stop = True
