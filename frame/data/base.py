"""What a data set is: named splits, each a `Source` of whole batches."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from frame.mistakes import Mistake, choices

# 'x': [B, *shape] · 'y': [B] · 'factors': [B, K] · 'views': V x [B, *shape] · 'env': [B] · 'index': [B]
Batch = dict[str, Any]  # a Tensor each, and 'views' a list of them; Any spares every method a cast


class Source(Protocol):
    """One split. `batch` fetches rows as they are stored; `transform` makes of them what a model sees."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """Rows `indices` [B] (int64, on the CPU or where the rows lie), as stored (pictures are uint8), and 'index'.

        Noise belongs to `transform`; where it cannot be separated from the rows, see `Seeded`.
        """
        ...

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The whole batch on the device it lies on: to float, binarized, augmented; all noise is `generator`'s."""
        ...


@runtime_checkable
class Resident(Protocol):
    """A source whose rows lie in memory, and can lie in an accelerator's memory instead."""

    def to(self, device: torch.device) -> Source: ...


@runtime_checkable
class Seeded(Protocol):
    """A source that draws noise while it fetches rows, such as somebody's per-sample augmentation."""

    def at(self, seed: int, epoch: int) -> Source:
        """The same rows, with the noise of that epoch."""
        ...


class DataSet:
    """Named splits, loaded when first asked for. A subclass fills `splits` and `load`; constructors read nothing."""

    splits: tuple[str, ...] = ("train", "valid", "test")

    def __init__(self) -> None:
        self._loaded: dict[str, Source] = {}
        self.absent: dict[str, str] = {}  # why a usual split is not in `splits`

    @property
    def shape(self) -> tuple[int, ...]:
        """One row's shape, (C, H, W) for pictures. Data sets that know it without reading override this."""
        return tuple(self.split(self.splits[0]).batch(torch.arange(1))["x"].shape[1:])

    @property
    def n_classes(self) -> int | None:
        """How many values 'y' has; None where there is no 'y' or nobody knows."""
        return None

    @property
    def keys(self) -> tuple[str, ...]:
        """What a batch has beside 'index'. Data sets that know it without reading override this."""
        row = whole_batch(self.split(self.splits[0]), torch.arange(1))
        return tuple(key for key in row if key != "index")

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
            raise Mistake(self.absent.get(name) or choices(name, self.splits, kind="split"))
        if name not in self._loaded:
            self._loaded[name] = self.load(name)
        return self._loaded[name]

    def training(self) -> Source:
        """What a model trains on: the split 'train', as evaluations see it unless a subclass augments it."""
        return self.split("train")


def moved(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on `device`; without waiting for the copy where the rows lie in pinned memory."""
    return {
        key: [view.to(device, non_blocking=True) for view in value]
        if isinstance(value, list)
        else value.to(device, non_blocking=True)
        for key, value in batch.items()
    }


def whole_batch(source: Source, indices: Tensor, *, seed: int = 0, device: torch.device | str = "cpu") -> Batch:
    """Rows `indices` as a model sees them, with noise (binarization, augmentation) that only `seed` determines."""
    generator = torch.Generator(device).manual_seed(seed)
    return source.transform(moved(source.batch(indices), device), generator)
