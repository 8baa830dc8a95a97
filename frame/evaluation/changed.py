"""Pictures of another data set, or changed ones, in place of those that a model was trained on."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.base import Batch, DataSet, Source, whole_batch


class Changed(DataSet):
    """The rows of another data set, with 'x' changed by a module of (x, generator), as in `frame.data.augment`.

    A row is changed in the same way each time that an evaluation asks for it.
    """

    def __init__(self, data: DataSet, change: nn.Module) -> None:
        super().__init__()
        self.data, self.change = data, change
        self.splits, self.absent = data.splits, data.absent

    @property
    def n_classes(self) -> int | None:
        return self.data.n_classes

    def load(self, split: str) -> Source:
        return ChangedSource(self.data.split(split), self.change)


class ChangedSource:
    """A split whose `transform` changes 'x' at its end."""

    def __init__(self, source: Source, change: nn.Module) -> None:
        self.source, self.change = source, change

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Tensor) -> Batch:
        return self.source.batch(indices)

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        found = self.source.transform(batch, generator)
        return {**found, "x": self.change(found["x"], generator)}


class Fitted(nn.Module):
    """Gives pictures the size (bilinear) and the channels of another data set, and draws them as 0 or 1 if `binary`."""

    def __init__(self, shape: tuple[int, ...], binary: bool) -> None:
        super().__init__()
        self.shape, self.binary = shape, binary

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            channels, *size = self.shape
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
            x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1) if x.shape[1] != channels else x
        return torch.bernoulli(x.clamp(0, 1), generator=generator) if self.binary else x


def fitted(other: Any, data: DataSet, split: str) -> DataSet:
    """Rows that a model of `data` can take, from another data set or from a module that changes the pictures of `data`.

    Pictures of another size are resized, and drawn as 0 or 1 if those of `data` are binary.

    Raises:
        UserError: `other` is neither, or its rows cannot be given that shape.
    """
    own = whole_batch(data.split(split), torch.arange(min(16, len(data.split(split)))))["x"]
    binary = bool(((own == 0) | (own == 1)).all())
    if isinstance(other, nn.Module):
        return Changed(Changed(data, other), Fitted(tuple(own.shape[1:]), True)) if binary else Changed(data, other)
    if not isinstance(other, DataSet):
        raise UserError(f"{type(other).__name__} is neither a data set nor a module that changes pictures: choose one")
    rows = whole_batch(other.split(split), torch.arange(min(16, len(other.split(split)))))["x"]
    here, there = tuple(own.shape[1:]), tuple(rows.shape[1:])
    if here != there and (len(here) != 3 or len(there) != 3):
        raise UserError(
            f"{type(other).__name__} has rows {list(there)}, the model takes {list(here)}: choose other data"
        )
    if here == there and (not binary or bool(((rows == 0) | (rows == 1)).all())):
        return other
    return Changed(other, Fitted(here, binary))
