"""Somebody's `torch.utils.data.Dataset`, such as torchvision's, as a source of whole batches."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.data.base import Batch, DataSet, Source
from frame.data.loader import mix
from frame.mistakes import Mistake, choices

SPLITS = ("train", "valid", "test")
_KEYS = {"image": "x", "label": "y"}  # as Hugging Face calls them


class PerSample:
    """Rows of a data set that is indexed one by one.

    An item is x, a pair (x, y), or a mapping with 'x' (or 'image'), 'y' (or 'label') and others. Pictures of PIL, and
    uint8 arrays [H, W] or [H, W, C], become uint8 [C, H, W]; other arrays and tensors keep their shape. A model sees
    uint8 pictures as x / 255.

    What an item draws from the random states of Python, numpy or torch is determined by (seed, epoch, row), in
    whichever process it runs. A numpy `Generator` that the data set keeps for itself is out of reach.

    Args:
        data: has `__len__` and `__getitem__`.
        rows: those of its rows that belong to this split; all by default.

    Raises:
        Mistake: `data` has no length; from `batch`, an item that cannot be read so.
    """

    def __init__(self, data: Any, rows: Sequence[int] | None = None) -> None:
        if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
            raise Mistake(f"{type(data).__name__} has no __len__ and __getitem__: give a data set that has rows")
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
        with _random_states() as seed_all:
            for index in indices.tolist():
                seed_all(mix(self.seed, self.epoch, index))
                items.append(self._row(self.data[self.rows[index]]))
        batch: Batch = {key: self._stack(key, items) for key in items[0]}
        return {**batch, "index": indices}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        x: Tensor = batch["x"]
        return {**batch, "x": x.float().mul_(1 / 255)} if x.dtype == torch.uint8 else batch

    def _row(self, item: Any) -> dict[str, Tensor]:
        named: dict[str, Any] = {"x": item}
        if isinstance(item, Mapping):
            named = {_KEYS.get(str(key), str(key)): value for key, value in item.items()}
        elif isinstance(item, tuple | list):
            if len(item) > 2:
                raise Mistake(
                    f"{self._name} gives items of {len(item)} parts: give (x, y), or a mapping that names them"
                )
            named = dict(zip(("x", "y"), item, strict=False))
        if "x" not in named:
            raise Mistake(f"{self._name} gives items with {', '.join(map(str, named))}, and no 'x' or 'image'")
        return {key: self._tensor(key, value) for key, value in named.items()}

    def _tensor(self, key: str, value: Any) -> Tensor:
        if hasattr(value, "getbands"):  # a picture of PIL
            plain = {"1": "L", "P": "RGB"}.get(value.mode, value.mode)
            value = np.array(value.convert(plain))
        if isinstance(value, np.ndarray):
            if value.dtype == np.uint8 and value.ndim in (2, 3):
                value = value[None] if value.ndim == 2 else value.transpose(2, 0, 1)
            value = torch.from_numpy(np.array(value))  # its own memory, writable and in one piece
        try:
            tensor = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise Mistake(
                f"{self._name} gives '{key}' as {type(value).__name__}: give a tensor, an array, a number or a picture"
            ) from error
        if key == "y" and not tensor.is_floating_point():
            return tensor.long()
        return tensor.float() if tensor.dtype == torch.float64 else tensor

    def _stack(self, key: str, items: list[dict[str, Tensor]]) -> Tensor:
        shapes = {tuple(item[key].shape) if key in item else None for item in items}
        if len(shapes) > 1:
            raise Mistake(
                f"{self._name} gives '{key}' in different shapes ({', '.join(sorted(map(str, shapes)))}): "
                "give it a transform that makes them equal"
            )
        return torch.stack([item[key] for item in items])

    @property
    def _name(self) -> str:
        return type(self.data).__name__


@contextmanager
def _random_states() -> Iterator[Any]:
    """Gives a function that seeds Python, numpy and torch on the CPU; their states are put back afterwards."""
    before = random.getstate(), np.random.get_state(), torch.default_generator.get_state()

    def seed_all(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerator, too

    try:
        yield seed_all
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.default_generator.set_state(before[2])


class PerSampleSplits(DataSet):
    """Splits given as a mapping; where there is no 'valid', every tenth row of 'train' is held out for it.

    Every tenth and not the last ones: files are often sorted by class.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__()
        for name in given:
            if name not in SPLITS:
                raise Mistake(choices(str(name), SPLITS, kind="split"))
        if "train" not in given:
            raise Mistake(f"data has no split 'train', only: {', '.join(map(str, given)) or 'nothing'}")
        self._given = {name: _as_source(data) for name, data in given.items()}
        train = self._given["train"]
        if "valid" not in given and isinstance(train, PerSample) and len(train) > 1:
            n = len(train)
            held_out = range(9, n, 10) if n > 9 else range(n - 1, n)
            kept = [i for i in range(n) if i not in held_out]
            self._given["train"] = PerSample(train.data, [train.rows[i] for i in kept])
            self._given["valid"] = PerSample(train.data, [train.rows[i] for i in held_out])
        self.splits = tuple(name for name in SPLITS if name in self._given)
        self.absent = {
            name: f"the data has no split '{name}': give data as a mapping of train, valid and test, "
            f"or use one of: {', '.join(self.splits)}"
            for name in SPLITS
            if name not in self._given
        }

    def load(self, split: str) -> Source:
        return self._given[split]


def _as_source(data: Any) -> Source:
    return data if hasattr(data, "batch") and hasattr(data, "transform") else PerSample(data)


def as_data_set(data: Any) -> DataSet:
    """What stands under `data:` in a config as a DataSet.

    Args:
        data: a DataSet; or one data set of rows (every tenth is held out as 'valid'); or a mapping of 'train',
            'valid' and 'test' to those, or to sources of whole batches.

    Raises:
        Mistake: it is none of them, or names a split that there is not.
    """
    if isinstance(data, DataSet):
        return data
    return PerSampleSplits(data if isinstance(data, Mapping) else {"train": data})
