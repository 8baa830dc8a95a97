"""Stretches: parts of an epoch that Lightning passes on as a whole, so that it is asked once for many iterations.

Lightning calls four rounds of hooks for each batch, which costs about 1.7 ms with a dozen callbacks.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from frame.data.base import Batch


class Stretch:
    """The batches from here to the end of the epoch. Who trains on it stops at the batch that ends it."""

    def __init__(self, first: Batch, others: Iterator[Batch]) -> None:
        self._batches = chain((first,), others)

    def __iter__(self) -> Iterator[Batch]:
        return self._batches


class Stretches:
    """A loader for Lightning: it yields stretches of another loader's batches.

    A stretch begins with the first batch that the former one has not used. Its length bounds the number of stretches.
    If `stored`, they have what the loader's `stored` gives instead of batches.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.stored = False

    def __len__(self) -> int:
        return len(self.loader)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.loader.state_dict()
        return state

    def __iter__(self) -> Iterator[Stretch]:
        batches = iter(self.loader.stored() if self.stored else self.loader)
        for first in batches:
            yield Stretch(first, batches)


def loader_of(given: Any) -> Any:
    """The loader of `Stretches`, or the loader itself."""
    return given.loader if isinstance(given, Stretches) else given


def hooked(hooks: Iterable[str], optimization: LightningModule, callbacks: Iterable[Callback]) -> list[str]:
    """The classes of those that define one of these hooks of Lightning's."""
    parts: list[tuple[Any, type]] = [(optimization, LightningModule), *((one, Callback) for one in callbacks)]
    return [
        type(one).__name__ for one, parent in parts if any(is_overridden(hook, one, parent=parent) for hook in hooks)
    ]
