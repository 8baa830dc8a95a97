"""Shows the progress of a run, in a terminal or a log file."""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from frame.callbacks.base import Measurement, optimization_of
from frame.callbacks.duration import TrainDuration
from frame.callbacks.losses import LossLog
from frame.common.notebook import Line, in_notebook
from frame.common.numbers import unsigned_zero
from frame.common.output import shortened
from frame.optimization.base import Optimization

MOST_LETTERS = 20  # of a run's name, where texts need the room
BESIDE = len(" 100% |") + 20 + len("| ") + 1  # what the bar itself takes of a line


class ProgressBar(Callback):
    """One bar for the whole run; without a terminal, one line every `lines_every` seconds. Only rank 0 shows it.

    It draws between two iterations and ends no stretch: Lightning's hooks take six times as long as drawing.
    """

    def __init__(
        self, name: str, duration: TrainDuration, losses: LossLog, lines_every: float = 30.0, shown: bool = True
    ) -> None:
        self.name, self.duration, self.losses, self.lines_every = name, duration, losses, lines_every
        self.on_terminal = sys.stderr.isatty()
        self.shown = shown
        self.bar: tqdm[Any] | None = None
        self.line = Line() if in_notebook() else None
        self._drawn = 0.0  # when a line was printed
        self._next_at = 0.0  # seconds of training
        self._looks_every = 0.2
        self._measured: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._drawn = time.monotonic()
        self.shown = self.shown and trainer.is_global_zero
        self._looks_every = 0.2 if self.on_terminal or self.line is not None else self.lines_every
        self._next_at = optimization_of(pl_module).counters["seconds"] + self._looks_every
        if self.on_terminal and self.shown and self.line is None:
            self.bar = tqdm(total=100, bar_format="{desc} {percentage:3.0f}% |{bar:20}| {unit}", dynamic_ncols=True)
            self._draw(optimization_of(pl_module))

    def on_measurement(self, trainer: Trainer, optimization: Optimization, measurement: Measurement) -> None:
        self._measured |= {k: v for k, v in measurement.values.items() if k == measurement.name}
        self._next_at = 0.0

    def is_due(self, optimization: Optimization) -> bool:
        if optimization.counters["seconds"] >= self._next_at:
            self._next_at = optimization.counters["seconds"] + self._looks_every
            if self.bar is not None or self.line is not None or time.monotonic() - self._drawn >= self.lines_every:
                self._drawn = time.monotonic()
                self._draw(optimization)
        return False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.is_due(optimization_of(pl_module))  # another callback was asked before it, and ended the stretch

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
        parts = [f"{done}/{limit}", left]
        parts += [f"{name} {unsigned_zero(f'{value:.5g}')}" for name, value in numbers.items()]
        if self.bar is not None:
            self.bar.n = round(100 * share, 1)
            # the only field that tqdm prints unchanged; it cuts a line that is too long
            self.bar.desc, self.bar.unit = fitted(self.name, parts, _columns() - BESIDE)
            self.bar.refresh()
            return
        text = f"{self.name} {100 * share:3.0f}% {' · '.join(parts)}"
        if self.shown and self.line is not None:
            self.line.show(text)
        elif self.shown and not self.on_terminal:
            print(text, file=sys.stderr, flush=True)


def fitted(name: str, parts: Sequence[str], width: int) -> tuple[str, str]:
    """A name and texts on one line of this width: the last texts are left out, then the name is shortened."""
    here = list(parts)
    while len(here) > 2 and len(shortened(name, MOST_LETTERS)) + len(" · ".join(here)) > width:
        del here[-1]
    text = " · ".join(here)
    return name if len(name) + len(text) <= width else shortened(name, max(1, width - len(text))), text


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
