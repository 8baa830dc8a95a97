"""Shows the progress of a run, in a terminal or a log file."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from frame.callbacks.base import Measurement, optimization_of
from frame.callbacks.duration import TrainDuration
from frame.callbacks.losses import LossLog
from frame.optimization.base import Optimization


class ProgressBar(Callback):
    """One bar for the whole run; without a terminal, one line every `lines_every` seconds."""

    def __init__(self, name: str, duration: TrainDuration, losses: LossLog, lines_every: float = 30.0) -> None:
        self.name, self.duration, self.losses, self.lines_every = name, duration, losses, lines_every
        self.on_terminal = sys.stderr.isatty()
        self.bar: tqdm[Any] | None = None
        self._drawn = 0.0
        self._measured: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._drawn = time.monotonic()
        if self.on_terminal:
            self.bar = tqdm(
                total=100, desc=self.name, bar_format="{desc} {percentage:3.0f}% |{bar:20}| {unit}", dynamic_ncols=True
            )
            self._draw(optimization_of(pl_module))

    def on_measurement(self, trainer: Trainer, optimization: Optimization, measurement: Measurement) -> None:
        self._measured |= {k: v for k, v in measurement.values.items() if k == measurement.name}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if time.monotonic() - self._drawn >= (0.2 if self.bar is not None else self.lines_every):
            self._drawn = time.monotonic()
            self._draw(optimization_of(pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(optimization_of(pl_module))
        self.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _draw(self, optimization: Optimization) -> None:
        limit, share = self.duration.progress(optimization.counters)
        counted = optimization.counters[limit.counter]
        done = f"{counted:.0f}" if limit.counter == "seconds" or float(counted).is_integer() else f"{counted:.1f}"
        seconds = optimization.clock.seconds
        left = f"{_time(seconds * (1 - share) / share)} left" if share > 0 else "starting"
        numbers = {k: v for k, v in self.losses.newest.items() if k == "loss"} | dict(list(self._measured.items())[:2])
        text = " · ".join([f"{done}/{limit}", left, *(f"{name} {value:.5g}" for name, value in numbers.items())])
        if self.bar is not None:
            self.bar.n = round(100 * share, 1)
            self.bar.unit = text  # the only field that tqdm prints unchanged
            self.bar.refresh()
        elif not self.on_terminal:
            print(f"{self.name} {100 * share:3.0f}% {text}", file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
