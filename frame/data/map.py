"""A change of another data set's batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from frame.common.errors import UserError
from frame.data.base import Batch, DataSet, Source, keys_in, whole_batch
from frame.data.composed import Composed, Wrapped
from frame.data.per_sample import as_data_set

Change = Callable[[Batch, torch.Generator], Batch]


class Map(Wrapped):
    """Batches of another data set, changed by a function of the transformed batch, on its device.

    Args:
        data: a data set, or a value that `as_data_set` takes.
        function: takes (batch, generator) and returns a batch; all noise must come from the generator. It may add,
            change and drop entries, but must keep 'index' and the number of rows. If its `keeps_labels` is true, it
            does not change 'y', and labels are checked and compared like those of `data`; likewise `keeps_x` and 'x'.
        n_classes: the number of values of 'y', if the function changes it.

    Raises:
        UserError: `data` is not a data set, or `function` cannot be called.
    """

    def __init__(self, data: Any, function: Change, n_classes: int | None = None) -> None:
        super().__init__(as_data_set(data))
        if not callable(function):
            raise UserError(f"Map: function={function} cannot be called: name one under _target_ with _partial_: true")
        self.function = function
        self._n, self._keeps_labels = n_classes, bool(getattr(function, "keeps_labels", False))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._row()["x"].shape[1:])

    @property
    def row(self) -> str:
        return self.data.row if self.shape == self.data.shape else DataSet.row.fget(self)  # type: ignore[attr-defined]

    @property
    def keys(self) -> tuple[str, ...]:
        return keys_in(self._row())

    @property
    def n_classes(self) -> int | None:
        return self.data.n_classes if self._keeps_labels and self._n is None else self._n

    @property
    def classes(self) -> Sequence[str] | None:
        return self.data.classes if self._keeps_labels and self._n is None else None

    def made(self, split: str, *sources: Source) -> Source:
        return MappedRows(sources[0], self.function)

    def _row(self) -> Batch:
        batch = whole_batch(self.split(self.splits[0]), torch.arange(1))
        if "x" not in batch:
            raise UserError(f"Map: the function leaves {', '.join(batch)} in a batch, and no 'x'")
        return batch


class MappedRows(Composed):
    """A source with a function applied to its batches; see `Map`."""

    def __init__(self, source: Source, function: Change) -> None:
        super().__init__(source)
        self.function = function
        self.keeps_labels = bool(getattr(function, "keeps_labels", False))
        self.keeps_x = bool(getattr(function, "keeps_x", False))

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        before = super().transform(batch, generator)
        after = self.function(before, generator)
        if not isinstance(after, dict):
            raise UserError(f"{_name(self.function)} returns {type(after).__name__}, and must return a batch, a dict")
        return {**after, "index": before["index"]}


class Keep:
    """Keeps some entries of a batch, and always 'index'; with `Map` it removes labels, for example.

    Args:
        keys: their names.
    """

    keeps_labels = keeps_x = True

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        _check_keys(batch, self.keys, "keep")
        return {key: value for key, value in batch.items() if key in self.keys or key == "index"}


class Rename:
    """Gives entries of a batch other names.

    Args:
        names: the new name of each old one. An entry that already has a new name is replaced.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)
        changed = {*self.names, *self.names.values()}
        self.keeps_labels, self.keeps_x = "y" not in changed, "x" not in changed

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        _check_keys(batch, self.names, "rename")
        rest = {key: value for key, value in batch.items() if key not in self.names}
        return rest | {new: batch[old] for old, new in self.names.items()}


def _check_keys(batch: Batch, keys: Any, verb: str) -> None:
    absent = [key for key in keys if key not in batch]
    if absent:
        raise UserError(f"there is no '{absent[0]}' to {verb}: a batch has {', '.join(batch)}")


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
