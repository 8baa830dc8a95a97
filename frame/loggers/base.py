"""Where measurements are written down. Every logger is a Lightning logger that also takes pictures and tables."""

from typing import Any

import numpy as np
from lightning.pytorch.loggers.logger import Logger
from matplotlib.figure import Figure


class RunLogger(Logger):
    """A window on one run. `step` is the number of iterations done; metrics may carry 'seconds' and 'epochs' too.

    Only rank 0 builds and calls loggers. A subclass overrides what it can show; nothing by default.
    """

    @property
    def name(self) -> str | None:
        return None

    @property
    def version(self) -> str | int | None:
        return None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Named scalars at `step`."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the composed config is given to the constructor."""

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """A picture, [H, W, 3] uint8."""

    def log_figure(self, name: str, figure: Figure, step: int) -> None:
        """A figure made without pyplot."""

    def log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        """A table."""

    def cut(self, iteration: int) -> None:
        """Before a run goes on from a checkpoint at `iteration`: what was written after it is taken back."""
