"""Splits that are larger than the memory: rows are read, or decoded, when a batch asks for them."""

import copy
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.data.base import Batch
from frame.data.memory import beside, check_binarize, drawn
from frame.data.tensors import KINDS, channels_last, plain

CHUNK = 16 << 20  # bytes that are read at once in a pass over all rows
LOOK = 64  # rows whose type is looked at


class Reader(Protocol):
    """Where rows come from."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def cheap(self) -> bool: ...  # whether a single row costs no more than its share

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray: ...


class Stored:
    """Rows [N, *shape] outside of the memory: some of a reader's, in the types of a model.

    An index gives the rows that it names, unread. Pictures [N, H, W, C] as uint8 become
    [N, C, H, W], and [N, H, W] become [N, 1, H, W].

    Args:
        reader: gives rows as they are stored.
        rows: the reader's rows that these are; all by default.
        where: names them in messages.

    Raises:
        UserError: they hold no numbers, or floats that look like pictures of 0 to 255; from `read`, a number is NaN or
            infinite, and the row is named.
    """

    def __init__(self, reader: Reader, rows: np.ndarray | None = None, where: str = "x") -> None:
        if reader.dtype.kind not in "biuf":
            what = KINDS.get(reader.dtype.kind, "no numbers")
            raise UserError(f"{where} holds {what} (numpy's {reader.dtype}): give numbers")
        if 0 in reader.shape:
            raise UserError(f"{where} has rows of the shape {list(reader.shape)}, which hold nothing")
        self.reader, self.where = reader, where
        self.rows = np.arange(len(reader)) if rows is None else rows
        self.mean: Tensor | None = None  # [*shape] or one number: subtracted from floats
        self.scale: Tensor | None = None
        self._turned = reader.dtype == np.uint8 and channels_last(reader.shape)
        self._grey = reader.dtype in (np.uint8, np.bool_) and len(reader.shape) == 2
        if rows is None and len(self) and reader.cheap:  # rows of another type than a model's are noticed here
            some = np.linspace(0, len(self) - 1, min(LOOK, len(self))).round().astype(np.int64)
            plain(_tensor(reader.read(some)), where, len(reader.shape))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dtype(self) -> np.dtype:
        return self.reader.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        row = self.reader.shape
        if self._grey:
            row = (1, *row)
        return (len(self), *((row[2], row[0], row[1]) if self._turned else row))

    @property
    def pictures(self) -> bool:
        """Whether a batch has bytes, which are pictures."""
        return self.dtype == np.uint8 or self.dtype == np.bool_ and len(self.shape) > 2

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.reader.shape, dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, rows: np.ndarray) -> "Stored":
        there = copy.copy(self)
        there.rows = self.rows[rows]
        return there

    def read(self, rows: np.ndarray) -> Tensor:
        """Rows [B] as a tensor [B, *shape]: uint8 pictures, float32 or whole numbers."""
        x = self._checked(rows)
        if not x.is_floating_point():
            return plain(x, self.where, x.dim() - 1) if x.dtype == torch.bool else x
        if self.mean is not None and self.scale is not None:
            x = (x.float() if x.dtype == torch.float16 else x).sub_(self.mean).div_(self.scale)
        return x.float()

    def _checked(self, rows: np.ndarray) -> Tensor:
        """Rows [B] in their own type."""
        theirs = self.rows[rows]
        x = _tensor(self.reader.read(theirs))
        if self._turned:
            return x.permute(0, 3, 1, 2).contiguous()
        if self._grey:
            return x.unsqueeze(1)
        if x.is_floating_point() and not x.sum().isfinite():  # cheaper than each number; a sum may be too large
            wrong = (~x.isfinite()).reshape(len(x), -1).any(1)
            if wrong.any():
                row = int(theirs[int(wrong.nonzero()[0])])
                raise UserError(f"{self.where}: row {row} is NaN or infinite: mend or remove it")
        return x

    def chunks(self) -> Iterator[Tensor]:
        """All rows in their order and type, as many at once as CHUNK bytes hold."""
        step = max(1, CHUNK // self.row_bytes)
        for start in range(0, len(self), step):
            yield self._checked(np.arange(start, min(start + step, len(self))))

    def few(self, n: int, most_bytes: int) -> np.ndarray:
        """The first rows as an array, at most so many and of so many bytes; none if a single row is dear."""
        n = min(n, len(self), most_bytes // self.row_bytes) if self.reader.cheap else 0
        return self.read(np.arange(n)).numpy()


def _tensor(array: np.ndarray) -> Tensor:
    """An array that nobody else holds as a tensor, in the machine's byte order."""
    if array.dtype == np.longdouble and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def mean_and_scale(x: Stored) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1 if it is 0) of all rows in one pass, in float64.

    Each column of [N, D] by itself [D], other shapes as a whole. Chunks are joined as by Chan, Golub and LeVeque
    (1983), so that large means take no digits from the variance.
    """
    n, mean, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for chunk in x.chunks():
        some = chunk.double() if chunk.dim() == 2 else chunk.double().reshape(-1)
        own = some.mean(0)
        shift, m = own - mean, len(some)
        squares = squares + (some - own).square().sum(0) + shift.square() * (n * m / (n + m))
        mean, n = mean + shift * (m / (n + m)), n + m
    scale = (squares / max(n, 1)).sqrt()
    return mean, torch.where(scale > 0, scale, 1.0)


class OnDisk:
    """A split whose rows are read when a batch asks for them. Labels and columns are in memory.

    Args:
        x: the rows.
        y, binarize, columns: as `InMemory` takes them; 'static' is refused, because it would have to keep what it drew.

    Raises:
        UserError: see `InMemory` and `Stored`.
    """

    def __init__(self, x: Stored, y: Any = None, *, binarize: str = "none", **columns: Any) -> None:
        check_binarize(binarize)
        if binarize != "none" and (not x.pictures or len(x.shape) < 3):
            raise UserError(
                f"binarize={binarize} needs pictures as uint8 [N, C, H, W], not {x.dtype} {list(x.shape)}: "
                "use binarize=none"
            )
        if binarize == "static":
            raise UserError(
                "binarize=static keeps the pictures in memory, and these stay outside: use dynamic, or none"
            )
        self.x = x
        self.y, self.columns = beside(x, y, columns)
        self.dynamic = binarize == "dynamic"
        self.levels = None if not x.pictures else 256 if binarize == "none" else 2

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor) -> Batch:
        here = indices.cpu()
        rows: Batch = {"x": self.x.read(here.numpy()), "index": here}
        if self.y is not None:
            rows["y"] = self.y.index_select(0, here)
        return rows | {name: column.index_select(0, here) for name, column in self.columns.items()}

    def ahead(self, indices: Tensor) -> None:
        """Tells the system which rows come next, if they lie in a file as they are."""
        tell = getattr(self.x.reader, "ahead", None)
        if tell is not None:
            tell(self.x.rows[indices.cpu().numpy()])

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": drawn(batch["x"], self.dynamic, generator)}
