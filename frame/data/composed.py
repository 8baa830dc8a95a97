"""Base classes of sources and data sets that are made of others."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from frame.data.base import (
    Batch,
    DataSet,
    Epoch,
    Source,
    Stream,
    announce,
    at_epoch,
    is_resident,
    is_seeded,
    labels_in,
    levels_of,
    limit_labels,
    streams,
)


class Composed:
    """A source made of others, which keeps their abilities. This base class wraps one source and leaves it unchanged.

    A subclass changes `batch` (which rows), `transform` (what a model sees) or both. It is in memory if all of its
    sources are, and passes on the epoch of their noise, the streams that a loader orders, and labels.
    """

    keeps_labels = True  # False: `transform` may change 'y'
    keeps_x = True  # False: `transform` may change 'x'

    def __init__(self, *sources: Source) -> None:
        self.sources = sources

    def __len__(self) -> int:
        return len(self.sources[0])

    def batch(self, indices: Any) -> Batch:
        return self.sources[0].batch(indices)

    def ahead(self, indices: Any) -> None:
        announce(self.sources[0], indices)

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return self.sources[0].transform(batch, generator)

    def over(self, sources: Iterable[Source]) -> Self:
        """The same made of other sources."""
        there = copy.copy(self)
        there.sources = tuple(sources)
        return there

    def at(self, seed: int, epoch: Epoch) -> Self:
        return self.over(at_epoch(source, seed, epoch) for source in self.sources)

    @property
    def resident(self) -> bool:
        return all(is_resident(source) for source in self.sources)

    @property
    def seeded(self) -> bool:
        return any(is_seeded(source) for source in self.sources)

    def to(self, device: torch.device) -> Self:
        return self.over(source.to(device) for source in self.sources)  # type: ignore[attr-defined]

    def streams(self) -> dict[str, Stream]:
        return streams(self.sources[0])

    @property
    def levels(self) -> int | None:
        return levels_of(self.sources[0]) if self.keeps_x else None

    def labels(self) -> Tensor | np.ndarray | None:
        return labels_in(self.sources[0]) if self.keeps_labels else None

    def limit_labels(self, n_classes: int) -> None:
        for source in self.sources if self.keeps_labels else ():
            limit_labels(source, n_classes)


class Wrapped(DataSet):
    """A data set made of others. A subclass defines `made`, which makes a source of their sources.

    Shape, classes, identity and any attribute of its own, such as `factor_sizes`, are those of the first of them.
    """

    def __init__(self, data: DataSet, *others: DataSet) -> None:
        super().__init__()
        self.data, self.parts = data, (data, *others)
        self.splits, self.absent = data.splits, data.absent

    def __getattr__(self, name: str) -> Any:
        # called only for names that are not found otherwise; without 'data', a copy is being made
        if name.startswith("_") or "data" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return getattr(self.data, name)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def row(self) -> str:
        return self.data.row

    @property
    def vocabulary(self) -> int | None:
        return self.data.vocabulary

    @property
    def n_classes(self) -> int | None:
        return self.data.n_classes

    @property
    def n_envs(self) -> int | None:
        return self.data.n_envs

    @property
    def classes(self) -> Sequence[str] | None:
        return self.data.classes

    @property
    def keys(self) -> tuple[str, ...]:
        return self.data.keys

    def identity(self, split: str) -> dict[str, Any]:
        return self.data.identity(split)

    def made(self, split: str, *sources: Source) -> Source:
        """The source of a split, from the same split of each part that has it."""
        raise NotImplementedError

    def load(self, split: str) -> Source:
        return self.made(split, *(part.split(split) for part in self.parts if split in part.splits))

    def training(self) -> Source:
        parts = [part for part in self.parts if "train" in part.splits]
        trained = [part.training() for part in parts]
        if all(source is part.split("train") for source, part in zip(trained, parts, strict=True)):
            return self.split("train")
        return self.made("train", *trained)
