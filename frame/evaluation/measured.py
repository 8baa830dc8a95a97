"""Takes and writes a measurement, in the same way during training and in `frame evaluate`."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from torch import nn

from frame.data.base import DataSet
from frame.evaluation.base import Evaluation, LogEntry, evaluating, full_name


@dataclass(frozen=True)
class Moment:
    """The state of a run in which its model is measured."""

    iteration: int
    seconds: float  # of training
    epochs: float
    weights: str  # 'average' or 'raw'; '' if the run keeps no average
    checkpoint: str = ""  # 'last' or 'best'; '' while the run trains
    source: str = ""  # of the user's own modules, if it is newer than the run's

    @classmethod
    def of(cls, counters: Mapping[str, float], weights: str, checkpoint: str = "", source: str = "") -> "Moment":
        """The moment that a run's counters describe."""
        return cls(int(counters["iterations"]), counters["seconds"], counters["epochs"], weights, checkpoint, source)


@dataclass(frozen=True)
class Measured:
    """What one evaluation found, with its name and the moment."""

    name: str
    entry: LogEntry
    at: Moment
    took: float  # seconds
    networks: Mapping[str, str] = field(default_factory=dict)  # by layer: the part of the model whose output it is

    @property
    def values(self) -> dict[str, float]:
        """The numbers, by the names under which they are logged."""
        return {full_name(self.name, key): float(scalar.value) for key, scalar in self.entry.scalars.items()}

    @property
    def less(self) -> tuple[str, ...]:
        """Names of the numbers for which less is better."""
        return tuple(full_name(self.name, key) for key, one in self.entry.scalars.items() if one.better == "less")

    def records(self, evaluation: str = "") -> list[dict[str, Any]]:
        """One record per number, as records.jsonl keeps them.

        Args:
            evaluation: identifier of this evaluation if it may be repeated; '' while the run trains.
        """
        return [
            {
                "name": full_name(self.name, key),
                "value": float(scalar.value),
                "unit": scalar.unit,
                "split": self.entry.split,
                "n_samples": scalar.n_samples,
                "estimator": scalar.estimator,
                "standard_error": None if math.isnan(scalar.standard_error or 0) else scalar.standard_error,
                "layer": scalar.layer,
                "network": self.networks.get(scalar.layer, ""),
                "width": scalar.width,
                "interval": None if scalar.interval is None else list(scalar.interval),
                "bound": scalar.bound,
                "saturated": scalar.saturated,
                "better": scalar.better,
                "checkpoint": self.at.checkpoint or f"iteration {self.at.iteration}",
                "iteration": self.at.iteration,
                "seconds": self.at.seconds,
                "took": round(self.took, 3),
                "weights": self.at.weights,
                "evaluation": evaluation,
                "together": len(self.entry.scalars),
            }
            | ({"source": self.at.source} if self.at.source else {})
            for key, scalar in self.entry.scalars.items()
        ]

    def log(self, loggers: Iterable[Logger]) -> None:
        """Writes numbers to any Lightning loggers, and pictures and tables to those that take them."""
        entry, step = self.entry, self.at.iteration
        for logger in loggers:
            if entry.scalars:
                counters = {"seconds": self.at.seconds, "epochs": self.at.epochs}
                logger.log_metrics({**counters, **self.values}, step=step)
            for method, things in (("log_image", entry.images), ("log_figure", entry.figures)):
                if hasattr(logger, method):
                    for key, thing in things.items():
                        getattr(logger, method)(full_name(self.name, key), thing, step)
            if hasattr(logger, "log_table"):
                for key, (columns, rows) in entry.tables.items():
                    logger.log_table(full_name(self.name, key), columns, rows, step)


def measure(evaluation: Evaluation, name: str, model: nn.Module, data: DataSet, at: Moment) -> Measured:
    """Runs an evaluation; the model's mode and all random state stay as they were.

    Args:
        evaluation: an evaluation that has passed its `check`.
        name: the name under which its numbers are logged.
        model, data: what is measured.
        at: the state of the run.

    Raises:
        NoNumber: a number is NaN, or the evaluation raises it.
        UserError: the evaluation raises it.
    """
    started = time.monotonic()
    with evaluating(model):
        entry = evaluation.evaluate(model, data)
    entry.check()
    networks = getattr(model, "networks", None)
    return Measured(name, entry, at, time.monotonic() - started, networks if isinstance(networks, Mapping) else {})
