"""Any `torch.utils.data.Dataset`, such as those of torchvision, as a source of whole batches."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError, choices
from frame.common.seeds import random_states
from frame.data.base import Batch, DataSet, Source, check_mask
from frame.data.identity import digest, pixels
from frame.data.labels import check_range, class_numbers, labels_of
from frame.data.loader import mix
from frame.data.splits import SPLITS, held_out
from frame.data.tensors import as_tensor, finite, picture, plain, seen, upright

_KEYS = {"image": "x", "label": "y"}  # Hugging Face's names


class PerSample:
    """Rows of a data set that is indexed one by one.

    An item is x, a pair (x, y), or a mapping with 'x' (or 'image'), 'y' (or 'label') and others. Pictures of PIL of 8
    bits, and uint8 arrays [H, W], [H, W, C] or [C, H, W] if it cannot be [H, W, C], become uint8 [C, H, W];
    palettes, CMYK and other colours become RGB. Other arrays and tensors keep their shape. A model sees uint8 pictures
    as x / 255. Labels of any integer type become int64; if `n_classes` is set, they must be below it.

    Random numbers that an item draws from Python, numpy or torch are determined by (seed, epoch, row), in any process.
    A numpy `Generator` of the data set itself cannot be seeded.

    Args:
        data: has `__len__` and `__getitem__`.
        rows: its rows that belong to this split; all by default.

    Raises:
        UserError: `data` has no length; from `batch`, an item cannot be read: it has another type, a NaN, a picture of
            16 bits, or a label that is not a class. The row is named.
    """

    n_classes: int | None = None

    def __init__(self, data: Any, rows: Sequence[int] | None = None) -> None:
        if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
            raise UserError(f"{type(data).__name__} has no __len__ and __getitem__: give a data set that has rows")
        self.data = data
        self.rows = range(len(data)) if rows is None else rows
        self.seed, self.epoch = 0, 0

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, seed: int, epoch: int) -> "PerSample":
        there = copy.copy(self)
        there.seed, there.epoch = seed, epoch
        return there

    def batch(self, indices: Tensor) -> Batch:
        items = []
        with random_states() as seed_all:
            for index in indices.tolist():
                seed_all(mix(self.seed, self.epoch, index))
                row = self.rows[index]
                items.append(self._row(self.data[row], f"{self._name}, row {row}"))
        batch: Batch = {key: self._stack(key, items) for key in items[0]}
        if "mask" in batch:
            check_mask(batch["mask"], batch["x"], self._name)
        return {**batch, "index": indices}

    def labels(self) -> np.ndarray | None:
        """Labels stored beside the rows, see `labels_of`; an item may give others."""
        found = labels_of(self.data)
        return None if found is None else found[np.asarray(self.rows)]

    def limit_labels(self, n_classes: int) -> None:
        """Labels of rows that are read from now on must be in 0 .. n_classes - 1."""
        self.n_classes = n_classes

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": seen(batch["x"])}

    def _row(self, item: Any, where: str) -> dict[str, Tensor]:
        named: dict[str, Any] = {"x": item}
        if isinstance(item, Mapping):
            named = {_KEYS.get(str(key), str(key)): value for key, value in item.items()}
        elif isinstance(item, tuple | list):
            if len(item) > 2:
                raise UserError(
                    f"{self._name} gives items of {len(item)} parts: give (x, y), or a mapping that names them"
                )
            named = dict(zip(("x", "y"), item, strict=False))
        if "x" not in named:
            raise UserError(f"{self._name} gives items with {', '.join(map(str, named))}, and no 'x' or 'image'")
        return {key: self._tensor(key, value, f"{where}: '{key}'") for key, value in named.items()}

    def _tensor(self, key: str, value: Any, what: str) -> Tensor:
        if hasattr(value, "getbands"):  # a picture of PIL
            value = picture(value, what)
        is_array = isinstance(value, np.ndarray)
        tensor = as_tensor(value, what)
        if tensor.dtype == torch.uint8:
            tensor = upright(tensor, is_array)
        if key == "y":
            return self._label(tensor, what)
        if key == "x":
            return finite(plain(tensor, what, tensor.dim()), what)
        return tensor.float() if tensor.dtype == torch.float64 else tensor

    def _label(self, y: Tensor, what: str) -> Tensor:
        """A class as int64 []; numbers as float32, and several labels as bool [K]."""
        if y.dtype == torch.bool and y.dim() == 1 and self.n_classes is None:
            return y
        if y.numel() == 1 and (self.n_classes is not None or not y.is_floating_point()):
            y = class_numbers(y.reshape(1), what)
            if self.n_classes is not None:
                check_range(y, self.n_classes, what)
            return y[0]
        if self.n_classes is not None:
            raise UserError(f"{what} has the shape {list(y.shape)}: give one number, the class, from 0")
        return y.long() if not y.is_floating_point() else y.float()

    def _stack(self, key: str, items: list[dict[str, Tensor]]) -> Tensor:
        shapes = {tuple(item[key].shape) if key in item else None for item in items}
        if len(shapes) > 1:
            raise UserError(
                f"{self._name} gives '{key}' in different shapes ({', '.join(sorted(map(str, shapes)))}): "
                "give it a transform that makes them equal"
            )
        return torch.stack([item[key] for item in items])

    @property
    def _name(self) -> str:
        return type(self.data).__name__


class PerSampleSplits(DataSet):
    """Splits given as a mapping. If there is no 'valid', a tenth of the rows of 'train' is held out for it.

    The rows are chosen by one fixed permutation that depends on no seed, machine or order of reading, so the same rows
    give the same splits. Each class gives a tenth of its rows, and at least one if it has two, unless more than a fifth
    would be held out. Labels are found beside the rows (`targets`, `labels`, a `TensorDataset`'s last tensor, a column
    'label'), or by reading the rows once if there are at most `READ` of them. Without labels only the permutation
    decides.
    """

    READ = 2000

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__()
        for name in given:
            if name not in SPLITS:
                raise UserError(choices(str(name), SPLITS, kind="split"))
        if "train" not in given:
            raise UserError(f"data has no split 'train', only: {', '.join(map(str, given)) or 'nothing'}")
        self._given = {name: _as_source(data) for name, data in given.items()}
        train = self._given["train"]
        self._holds_out = "valid" not in given and isinstance(train, PerSample) and len(train) > 1
        names = {*self._given, "valid"} if self._holds_out else set(self._given)
        self.splits = tuple(name for name in SPLITS if name in names)
        self.absent = {
            name: f"the data has no split '{name}': give data as a mapping of train, valid and test, "
            f"or use one of: {', '.join(self.splits)}"
            for name in SPLITS
            if name not in names
        }

    @property
    def classes(self) -> Sequence[str] | None:
        """The names of classes from the rows of 'train': torchvision's `classes`, or names of Hugging Face's labels."""
        data: Any = getattr(self._given["train"], "data", None)
        while hasattr(data, "dataset") and hasattr(data, "indices"):  # a Subset
            data = data.dataset
        names: Any = getattr(data, "classes", None)
        if names is None and hasattr(data, "column_names"):
            names = getattr((data.features or {}).get("label"), "names", None)
        named = isinstance(names, list | tuple) and len(names) > 0 and all(isinstance(name, str) for name in names)
        return list(names) if named else None

    @property
    def row(self) -> str:
        named = getattr(getattr(self._given["train"], "data", None), "row", None)
        return named if isinstance(named, str) else super().row

    @property
    def vocabulary(self) -> int | None:
        """The attribute `vocabulary` of the rows of 'train', or of their source."""
        train = self._given["train"]
        size = getattr(getattr(train, "data", train), "vocabulary", None)
        return size if isinstance(size, int) else None

    def load(self, split: str) -> Source:
        if self._holds_out and split != "test":
            self._hold_out()
        return self._given[split]

    def identity(self, split: str) -> dict[str, Any]:
        source, found = self.split(split), super().identity(split)
        if isinstance(source, PerSample):
            labels, tensors = source.labels(), getattr(source.data, "tensors", ())
            if labels is not None:
                # strings, and numbers of any type and byte order, in their written form
                found["labels"] = digest("\n".join(map(str, labels.tolist())).encode())
            if tensors and isinstance(tensors[0], Tensor):  # a TensorDataset
                found |= pixels(tensors[0], source.rows)
        return found

    def _hold_out(self) -> None:
        train = self._given["train"]
        assert isinstance(train, PerSample)
        rows = held_out(len(train), 0.1, self._labels(train)).tolist()
        chosen = set(rows)
        kept = [row for row in range(len(train)) if row not in chosen]
        self._given["train"] = PerSample(train.data, [train.rows[row] for row in kept])
        self._given["valid"] = PerSample(train.data, [train.rows[row] for row in rows])
        self._holds_out = False

    def _labels(self, train: PerSample) -> np.ndarray | None:
        beside = train.labels()
        if beside is not None:
            return beside
        if len(train) > self.READ or "y" not in train.batch(torch.arange(1)):
            return None
        y = torch.cat([train.batch(torch.tensor([row]))["y"].reshape(1, -1) for row in range(len(train))])
        return None if y.shape[1] != 1 or y.is_floating_point() else y[:, 0].numpy()


def _as_source(data: Any) -> Source:
    return data if hasattr(data, "batch") and hasattr(data, "transform") else PerSample(data)


def as_data_set(data: Any) -> DataSet:
    """The DataSet for the value of `data:` in a config.

    Args:
        data: a DataSet; or one data set of rows (a tenth is held out as 'valid'); or a mapping of 'train',
            'valid' and 'test' to those, or to sources of whole batches.

    Raises:
        UserError: it is none of them, or names an unknown split.
    """
    if isinstance(data, DataSet):
        return data
    if isinstance(data, str):
        raise UserError(f"{data!r} is text: give a data set, or rows")
    return PerSampleSplits(data if isinstance(data, Mapping) else {"train": data})
