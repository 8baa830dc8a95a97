"""Data that are given as objects of Python: arrays, tensors, torch's data sets, or a mapping of splits to those."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from frame.common.errors import UserError
from frame.common.output import say
from frame.data.base import DataSet, Source, labels_in
from frame.data.memory import InMemory
from frame.data.per_sample import PerSample, PerSampleSplits
from frame.data.splits import SPLITS, held_out
from frame.data.targets import task_of

HELD_OUT = {"test": 0.1, "valid": 0.1}  # shares of all rows
HOW = "give (x, y), an array, a torch Dataset, a frame data set, or a mapping of train, valid and test to those"


def data_set(given: Any) -> DataSet:
    """The data set of what was given to `frame.train(data=...)`.

    Args:
        given: a DataSet; or rows: x, (x, y), a mapping with 'x', 'y' and further columns, or a torch Dataset; or a
            mapping of 'train', 'valid' and 'test' to rows. x is [N, *shape], see `InMemory`; y [N] are classes, whole
            numbers from 0, or texts, which name the classes; floats with fractions, or of many values, are numbers,
            [N] or [N, K]; 0 and 1 [N, K] are several labels a row. Of rows without splits, a tenth is held out as
            'test' and a tenth as 'valid', by one fixed permutation, the same share of each class; a line says so. A
            mapping with no 'valid' holds out a tenth of 'train' for it.

    Raises:
        UserError: it is something else, or its parts have different lengths.
    """
    if isinstance(given, DataSet):
        return copy.copy(given)  # a run limits its labels and compares its rows
    if isinstance(given, Mapping) and given and given.keys() <= {*SPLITS}:
        if "train" not in given:
            raise UserError(f"data has no split 'train', only: {', '.join(given)}")
        names: list[str] | None = None
        sources = {}
        for split in sorted(given, key=SPLITS.index):
            sources[split], names = _source(given[split], f"data['{split}']", names)
        held = {} if "valid" in given else {"valid": HELD_OUT["valid"]}
    else:
        source, names = _source(given, "data", None)
        sources, held = {"train": source}, HELD_OUT
    return Given(_held_out(sources, held), names)


class Given(PerSampleSplits):
    """Splits of sources, with the names of classes if labels were texts."""

    def __init__(self, sources: Mapping[str, Source], names: Sequence[str] | None = None) -> None:
        super().__init__(sources)
        self._holds_out = False
        self.splits = tuple(split for split in SPLITS if split in sources)
        self._names = names

    @property
    def classes(self) -> Sequence[str] | None:
        return self._names if self._names is not None else super().classes

    @property
    def n_classes(self) -> int | None:
        """The classes that have names; else one more than the largest label that lies beside the rows."""
        named = super().n_classes
        if named is not None:
            return named
        known = [y for source in self._given.values() if (y := labels_in(source)) is not None and len(y)]
        whole = all(not torch.as_tensor(y).is_floating_point() for y in known if not _is_text(y))
        return 1 + max(int(y.max()) for y in known) if known and whole and not any(map(_is_text, known)) else None


def described(given: Any) -> str:
    """A few words on what was given, for messages and the run's config."""
    if isinstance(given, Mapping):
        return ", ".join(f"{key} {described(value)}" for key, value in given.items())
    if isinstance(given, tuple | list) and given and hasattr(given[0], "shape"):
        return " and ".join(described(part) for part in given)
    shape = f" {[*given.shape]}" if hasattr(given, "shape") and not isinstance(given, DataSet) else ""
    return f"{type(given).__name__}{shape}"


def _source(given: Any, what: str, names: list[str] | None) -> tuple[Source, list[str] | None]:
    """The source of rows, and the names of its classes; `names` are those of the splits before it."""
    if isinstance(given, str | bytes | type(None)) or isinstance(given, type):
        raise UserError(f"{what} is {given!r:.60}: {HOW}")
    if isinstance(given, DataLoader):
        raise UserError(f"{what} is a DataLoader: give its data set, loader.dataset; frame makes the batches")
    if isinstance(given, IterableDataset):
        raise UserError(f"{what} is an IterableDataset, which has no rows by number: {HOW}")
    if hasattr(given, "batch") and hasattr(given, "transform"):
        return given, names
    if isinstance(given, Dataset) or hasattr(given, "column_names"):
        return PerSample(given), names
    columns = dict(given) if isinstance(given, Mapping) else {}
    if isinstance(given, tuple):
        if len(given) not in (1, 2):
            raise UserError(f"{what} is a tuple of {len(given)}: {HOW}")
        columns = dict(zip(("x", "y"), given, strict=False))
    columns = columns or {"x": given}
    if "x" not in columns:
        raise UserError(f"{what} has {', '.join(map(str, columns))} and no 'x': {HOW}")
    x, y = _array(columns.pop("x")), _array(columns.pop("y", None))
    if _is_text(y):
        y, names = _numbered(np.asarray(y), names)
    return _in_memory(x, y, columns, what), names


def _in_memory(x: Any, y: Any, columns: dict[str, Any], what: str) -> InMemory:
    coded = _not_classes(y)
    if coded is not None and len(coded) != len(x):
        raise UserError(f"{what} has {len(x)} rows and {len(coded)} labels: give one label to each row")
    try:
        found = InMemory(x, y if coded is None else None, **columns)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    if coded is not None:
        found.columns["y"] = coded
    return found


def _array(value: Any) -> Any:
    """Frames, series and lists as arrays; anything else as it is."""
    if hasattr(value, "to_numpy"):
        return value.to_numpy()
    if isinstance(value, list):
        try:
            return np.asarray(value)
        except ValueError:  # rows of several lengths: what takes it says so
            return value
    return value


def _not_classes(y: Any) -> Tensor | None:
    """Numbers as float32, or labels [N, K] as bool; None if 'y' holds classes. Whole numbers [N] are classes."""
    if y is None or not hasattr(y, "shape") or len(y.shape) not in (1, 2) or not hasattr(y, "dtype"):
        return None
    if isinstance(y, np.ndarray) and y.dtype.kind not in "biuf":
        return None
    values = torch.tensor(y) if isinstance(y, np.ndarray) else torch.as_tensor(y)
    values = values[:, 0] if len(values.shape) == 2 and values.shape[1] == 1 else values
    if len(values.shape) == 1 and not values.is_floating_point():
        return None
    kind = "labels" if values.dtype == torch.bool else task_of(values.cpu().numpy())
    return None if kind == "classes" else values.float() if kind == "numbers" else values.bool()


def _is_text(y: Any) -> bool:
    if not isinstance(y, np.ndarray):
        return False
    return y.dtype.kind in "US" or y.dtype.kind == "O" and all(isinstance(value, str) for value in y.ravel())


def _numbered(y: np.ndarray, names: list[str] | None) -> tuple[np.ndarray, list[str]]:
    """Texts as numbers of classes. Those of a later split must be among the names."""
    found = sorted({str(value) for value in y.ravel()})
    if names is not None and (new := [name for name in found if name not in names]):
        raise UserError(f"the class '{new[0]}' has no row in 'train'")
    known = names or found
    place = {name: i for i, name in enumerate(known)}
    return np.array([place[str(value)] for value in y.ravel()], dtype=np.int64).reshape(y.shape), known


def _held_out(sources: Mapping[str, Source], shares: Mapping[str, float]) -> dict[str, Source]:
    """The splits, with further ones that are held out of 'train'."""
    train = sources["train"]
    if not isinstance(train, InMemory | PerSample) or len(train) < 5:
        return dict(sources)
    found, left = dict(sources), list(range(len(train)))
    for split, part in shares.items():
        y = labels_in(train)
        labels = None if y is None else np.asarray(y)[left]
        rows = held_out(len(left), part * len(train) / len(left), labels).tolist()
        found[split] = _rows(train, [left[row] for row in rows])
        chosen = set(rows)
        left = [row for i, row in enumerate(left) if i not in chosen]
    found["train"] = _rows(train, left)
    if shares:
        counts = ", ".join(f"'{split}' {len(found[split])}" for split in shares)
        say(f"data: of {len(train)} rows, {counts} are held out; a mapping of train, valid and test sets them")
    return found


def _rows(source: InMemory | PerSample, rows: Sequence[int]) -> Source:
    """Some rows of a source, in this order."""
    if isinstance(source, PerSample):
        return PerSample(source.data, [source.rows[row] for row in rows])
    part, chosen = copy.copy(source), torch.as_tensor(rows, dtype=torch.int64)
    part.x, part.y = source.x[chosen], None if source.y is None else source.y[chosen]
    part.columns = {name: column[chosen] for name, column in source.columns.items()}
    return part
