"""Shared by callbacks: the run that they write to, and measurements as events."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Callback, Trainer

from frame.common.errors import UserError
from frame.data.base import DataSet
from frame.evaluation.measured import Measured
from frame.optimization.base import Optimization, Player
from frame.optimization.stretches import hooked


class Recorder(Protocol):
    """The part of a run's folder that callbacks use."""

    path: Path

    def record(self, records: Sequence[dict[str, Any]]) -> None:
        """Appends records of measurements to the run's file."""
        ...

    def diagnose(self, entry: dict[str, Any]) -> None:
        """Appends a diagnosis of the doctor to the run's file."""
        ...

    def trouble(self, name: str, text: str) -> None:
        """Notes in the run's status an error that did not end the run."""
        ...


@dataclass(frozen=True)
class Context:
    """What a run gives to callbacks with a `bind` method."""

    data: DataSet
    run: Recorder | None  # only rank 0 writes
    weights: str  # average or raw


@dataclass(frozen=True)
class Measurement:
    """Numbers that an evaluation found, the same on all ranks."""

    name: str
    values: dict[str, float]  # by the names under which they are logged
    iteration: int
    seconds: float
    less: tuple[str, ...] = ()  # names of numbers for which less is better

    @classmethod
    def of(cls, found: Measured) -> "Measurement":
        return cls(found.name, found.values, found.at.iteration, found.at.seconds, found.less)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@runtime_checkable
class Binds(Protocol):
    def bind(self, context: Context) -> None: ...


@runtime_checkable
class Listens(Protocol):
    def on_measurement(self, trainer: Trainer, optimization: Optimization, measurement: Measurement) -> None:
        """Called once for each measurement, on every rank, before the next batch."""
        ...


@runtime_checkable
class ReadsLosses(Protocol):
    def on_losses(self, trainer: Trainer, optimization: Optimization, losses: Mapping[str, float]) -> None:
        """Called on every rank whenever losses are logged, with their means since the last time."""
        ...


@runtime_checkable
class Due(Protocol):
    def is_due(self, optimization: Optimization) -> bool:
        """Whether `on_train_batch_end` has something to do after this iteration; the same on all ranks.

        It is asked after each iteration, so it must be quick. Without it, a callback that has hooks for batches makes
        Lightning call all hooks in each iteration, which is slower. `on_train_batch_end` may be called in other
        iterations, too.
        """
        ...


class Monitor(Callback):
    """Acts once on each measurement called `monitor`, so that patience counts measurements.

    Args:
        monitor: the name that is logged, such as 'ELBO/Validation'.
        mode: 'max' if more is better, 'min' if less is; None: as the evaluation says.
        min_delta: a smaller change does not count as improvement.
    """

    def __init__(self, monitor: str, mode: str | None = None, min_delta: float = 0.0) -> None:
        if mode not in ("max", "min", None):
            raise UserError(f"{type(self).__name__}: mode={mode} must be max or min")
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self.best: float | None = None
        self.waited = 0  # measurements since the best one

    @property
    def state_key(self) -> str:
        return f"{type(self).__name__}[{self.monitor}]"

    def on_measurement(self, trainer: Trainer, optimization: Optimization, measurement: Measurement) -> None:
        if self.monitor in measurement.values:
            value = measurement.values[self.monitor]
            improved = self.improves(value, less=self.monitor in measurement.less)
            self.waited += 1
            if improved:
                self.best, self.waited = value, 0
            self.act(trainer, optimization, measurement, improved)

    def check(self, players: Mapping[str, Player]) -> None:
        """Raises UserError before training starts if it cannot act on these players."""

    def improves(self, value: float, less: bool = False) -> bool:
        if value != value:  # NaN never improves
            return False
        sign = -1.0 if self.mode == "min" or (self.mode is None and less) else 1.0
        return self.best is None or sign * (value - self.best) > self.min_delta

    def act(self, trainer: Trainer, optimization: Optimization, measurement: Measurement, improved: bool) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.waited = state_dict["best"], state_dict["waited"]


def optimization_of(module: Any) -> Optimization:
    assert isinstance(module, Optimization)
    return module


# Lightning's hooks that are called for each batch
START, END, INNER = "on_train_batch_start", "on_train_batch_end", ("on_before_backward", "on_after_backward")


def wanting_each_batch(optimization: Optimization, callbacks: Sequence[Callback]) -> list[str]:
    """The classes of those that want to be called in each iteration, and not only when they are due."""
    asked = [callback for callback in callbacks if not isinstance(callback, Due)]
    inner = hooked((START, *INNER), optimization, callbacks)
    own = [type(optimization).__name__] if type(optimization).training_step is not Optimization.training_step else []
    return list(dict.fromkeys(own + inner + hooked((END,), optimization, asked)))
