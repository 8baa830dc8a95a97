"""The losses of the last iterations, on the device that computed them until they are logged."""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from statistics import fmean

import torch
from torch import Tensor


class Diverged(Exception):
    """A loss is NaN or infinite."""


class RecentLosses:
    """Losses since they were last cleared, in a buffer [iterations, names] that is read once for each log.

    An iteration lacks the names of a player that does not step in it. The buffer has NaN there; what an iteration has
    is known on the host, so that this is not taken for a loss that is NaN.

    Args:
        room: iterations that fit at first. It grows if they are read later.
    """

    def __init__(self, room: int = 64) -> None:
        self._names: tuple[str, ...] = ()  # of the columns
        self._buffer = torch.empty(room, 0)
        self._rows: list[Tensor] = []  # of the buffer; made once, because indexing takes as long as writing
        self._present: list[tuple[str, ...]] = []  # the names of each iteration

    @classmethod
    def of(cls, iterations: Iterable[Mapping[str, float]], device: torch.device) -> "RecentLosses":
        """The losses that another object's iteration gave, on `device`."""
        recent = cls()
        for losses in iterations:
            recent.add({name: torch.tensor(value, device=device) for name, value in losses.items()})
        return recent

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Appends the losses of an iteration: scalars."""
        names, values = tuple(losses), [value.detach() for value in losses.values()]
        if names != self._names or len(self._present) == len(self._rows):
            self._make_room(names, values[0].device)
        row = self._rows[len(self._present)]
        self._present.append(names)
        if names == self._names:
            torch.stack(values, out=row)
            return
        for name, value in zip(names, values, strict=True):
            row[self._names.index(name)].copy_(value)

    def _make_room(self, names: tuple[str, ...], device: torch.device) -> None:
        """Adds columns for new names and rows, as far as they are missing."""
        used, width = len(self._present), len(self._names)
        self._names += tuple(name for name in names if name not in self._names)
        n_rows = len(self._buffer) * (2 if used == len(self._rows) > 0 else 1)
        if (n_rows, len(self._names)) == (len(self._rows), width):
            return
        wider = torch.full((n_rows, len(self._names)), torch.nan, device=device)
        wider[:used, :width] = self._buffer[:used]
        self._buffer, self._rows = wider, list(wider.unbind())

    def clear(self) -> None:
        self._present = []
        self._buffer.fill_(torch.nan)

    def __len__(self) -> int:
        """Iterations since the last `clear`."""
        return len(self._present)

    def __iter__(self) -> Iterator[dict[str, float]]:
        """The losses of each iteration. Waits for the device once."""
        for names, row in zip(self._present, self._buffer[: len(self)].tolist(), strict=True):
            yield {name: row[self._names.index(name)] for name in names}


def means(iterations: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each loss over the iterations that have it."""
    found: dict[str, list[float]] = {}
    for losses in iterations:
        for name, value in losses.items():
            found.setdefault(name, []).append(value)
    return {name: fmean(values) for name, values in found.items()}


def first_broken(iterations: Iterable[Mapping[str, float]]) -> tuple[int, str, float] | None:
    """The first iteration (from 0) with a loss that is NaN or infinite, that loss, and its value.

    A sum is broken if a part of it is: then it is the part.
    """
    for i, losses in enumerate(iterations):
        broken = [name for name, value in losses.items() if not isfinite(value)]
        if broken:
            name = min(broken, key=lambda name: name.rpartition("/")[2] == "loss")
            return i, name, losses[name]
    return None
