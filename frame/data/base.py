"""What a data set is: named splits, each a `Source` of whole batches."""

from typing import Protocol

import torch
from torch import Tensor

from frame.mistakes import Mistake, choices

# 'x': [B, *shape] · 'y': [B] · 'factors': [B, K] · 'views': V x [B, *shape] · 'env': [B] · 'index': [B]
Batch = dict[str, Tensor | list[Tensor]]


class Source(Protocol):
    """One split. `batch` fetches rows as they are stored; `transform` makes of them what a model sees."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """Rows `indices` [B] (int64, on the CPU), as stored (pictures are uint8), with 'index': [B]."""
        ...

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The whole batch on the device it lies on: to float, binarized, augmented; all noise is `generator`'s."""
        ...


class DataSet:
    """Named splits, loaded when first asked for. A subclass fills `splits` and `load`."""

    splits: tuple[str, ...] = ("train", "valid", "test")

    def __init__(self) -> None:
        self._loaded: dict[str, Source] = {}

    def load(self, split: str) -> Source:
        """Reads one split.

        Raises:
            Mistake: its files are missing or broken.
        """
        raise NotImplementedError

    def split(self, name: str) -> Source:
        """The split called `name`, read once.

        Raises:
            Mistake: there is no such split.
        """
        if name not in self.splits:
            raise Mistake(choices(name, self.splits, kind="split"))
        if name not in self._loaded:
            self._loaded[name] = self.load(name)
        return self._loaded[name]


def whole_batch(source: Source, indices: Tensor, *, seed: int = 0, device: torch.device | str = "cpu") -> Batch:
    """Rows `indices` as a model sees them, with noise (binarization, augmentation) that only `seed` determines."""
    generator = torch.Generator(device).manual_seed(seed)
    rows = source.batch(indices)
    moved: Batch = {
        key: [view.to(device) for view in value] if isinstance(value, list) else value.to(device)
        for key, value in rows.items()
    }
    return source.transform(moved, generator)
