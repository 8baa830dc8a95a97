"""Pictures of another data set, or changed ones, in place of those that a model was trained on."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.base import Batch, DataSet, Source, whole_batch


class Changed(DataSet):
    """The rows of another data set, whose 'x' a module changes: it takes (x, generator), as `frame.data.augment`'s.

    Each row is changed the same way each time that an evaluation asks for it.
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
    """Makes pictures like another data set's: its size (bilinear), its channels, and 0 or 1 if it has no grey."""

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
    """What a model of `data` can be given: another data set, or a module that changes the pictures of `data`.

    Pictures of another size are brought to that of `data`, and drawn as 0 or 1 where those of `data` are.

    Raises:
        UserError: it is neither, or its rows cannot be made ones of that shape.
    """
    own = whole_batch(data.split(split), torch.arange(min(16, len(data.split(split)))))["x"]
    binary = bool(((own == 0) | (own == 1)).all())
    if isinstance(other, nn.Module):
        return Changed(Changed(data, other), Fitted(tuple(own.shape[1:]), True)) if binary else Changed(data, other)
    if not isinstance(other, DataSet):
        raise UserError(f"{type(other).__name__} is no data set and no module that changes pictures: give a _target_")
    rows = whole_batch(other.split(split), torch.arange(min(16, len(other.split(split)))))["x"]
    here, there = tuple(own.shape[1:]), tuple(rows.shape[1:])
    if here != there and (len(here) != 3 or len(there) != 3):
        raise UserError(
            f"{type(other).__name__} has rows {list(there)}, the model takes {list(here)}: choose other data"
        )
    if here == there and (not binary or bool(((rows == 0) | (rows == 1)).all())):
        return other
    return Changed(other, Fitted(here, binary))
