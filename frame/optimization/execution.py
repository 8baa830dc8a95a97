"""How steps are executed. Neither a procedure's `step` nor a model knows which of these it is."""

from collections.abc import Iterable
from typing import Any, Protocol

from torch import nn

from frame.data.base import Batch


class Steps(Protocol):
    """What an execution needs of an `Optimization`."""

    model: Any

    def iterate(self, batch: Batch) -> None: ...

    def is_due(self) -> bool: ...


class Eager:
    """Runs the operations of a step one after another, as Python calls them."""

    def prepare(self, model: nn.Module, loader: Any) -> None:
        """Called once before the first step, when the model is on its device."""

    def run(self, steps: Steps, batches: Iterable[Batch]) -> None:
        """Trains on the batches up to the first after which a callback has something to do."""
        for batch in batches:
            steps.iterate(batch)
            if steps.is_due():
                return
