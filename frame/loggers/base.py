"""The base class of loggers: Lightning loggers that also take pictures and tables."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from lightning.pytorch.loggers.logger import Logger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frame.loggers.kept import Shown


class RunLogger(Logger):
    """A view of one run. `step` is the number of iterations done; metrics may hold 'seconds' and 'epochs', too.

    Only rank 0 builds and calls loggers. A subclass overrides what it can show; by default nothing is shown.
    """

    _warned = False
    keep: int | None = None  # number of pictures of each name that are shown; None: all

    def __init__(self) -> None:
        super().__init__()
        self._shown = Shown()

    @property
    def name(self) -> str | None:
        return None

    @property
    def version(self) -> str | int | None:
        return None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Named scalars at `step`."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the constructor gets the composed config."""

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        """A picture, [H, W, 3] uint8."""

    def log_figure(self, name: str, figure: Figure, step: int) -> None:
        """A figure made without pyplot; shown as a picture."""
        self.log_image(name, pixels(figure), step)

    def log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        """A table."""

    def takes(self, name: str) -> bool:
        """Whether a logger that cannot remove pictures shows the next one of this name."""
        return self._shown.takes(name, self.keep)

    def cut(self, iteration: int) -> None:
        """Removes what was written after `iteration`, before a run continues from a checkpoint there."""

    def warn(self, message: str) -> None:
        """Prints the first problem on stderr, in one line; later ones are not printed."""
        if not self._warned:
            self._warned = True
            with suppress(OSError):  # stderr may be on the same full disk
                print(f"{type(self).__name__}: {' '.join(message.split())}", file=sys.stderr, flush=True)

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Reports the first error in the block and continues: a logger must not stop a run."""
        try:
            yield
        except Exception as error:
            self.warn(f"{type(error).__name__}: {error}; the run goes on, its folder has everything")


def pixels(figure: Figure) -> np.ndarray:
    """The rendered figure, [H, W, 3] uint8. Later renderings keep the layout that was computed here."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine(None)  # computing a layout takes as long as rendering
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
