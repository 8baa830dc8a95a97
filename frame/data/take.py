"""A subset of the rows of another data set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError, at_least, choices
from frame.data.base import Batch, Indices, Source, Stream, labels_in, streams
from frame.data.composed import Composed, Wrapped
from frame.data.per_sample import as_data_set


class Take(Wrapped):
    """Rows of another data set, by index: the first ones, those after some, or a list.

    A run compares all rows of the other data set with those that it was trained on, not only the taken ones.

    Args:
        data: a data set, or a value that `as_data_set` takes.
        rows: the number of first rows, or all if there are fewer; or a list of indices from 0; null takes all.
        skip: the number of rows to leave out before that.
        splits: the splits in which this is done; the others are not changed. By default every split.

    Raises:
        UserError: a number is out of range, a split is unknown; from `split`, an index is unknown, or no row is left.
    """

    def __init__(
        self, data: Any, rows: int | Sequence[int] | None = None, skip: int = 0, splits: Sequence[str] | None = None
    ) -> None:
        super().__init__(as_data_set(data))
        at_least(0, skip=skip)
        if isinstance(rows, int):
            at_least(1, rows=rows)
        elif rows is not None:
            if skip:
                raise UserError("skip and a list of rows exclude each other: leave out one of them")
            if not all(isinstance(row, int) and not isinstance(row, bool) and row >= 0 for row in rows) or not rows:
                raise UserError("rows: give a number, or a list of whole numbers from 0")
            rows = list(rows)
        for name in splits or ():
            if name not in self.data.splits:
                raise UserError(choices(str(name), self.data.splits, kind="split"))
        self.rows, self.skip, self.only = rows, skip, splits

    def made(self, split: str, *sources: Source) -> Source:
        if self.only is not None and split not in self.only:
            return sources[0]
        try:
            return TakenRows(sources[0], self.rows, self.skip)
        except UserError as error:
            raise UserError(f"Take, '{split}': {error}") from None


class TakenRows(Composed):
    """Rows of a source: `rows` of them after `skip`, or the rows of a list. 'index' counts the taken ones."""

    def __init__(self, source: Source, rows: int | Sequence[int] | None = None, skip: int = 0) -> None:
        super().__init__(source)
        self.skip, self.n = skip, rows if isinstance(rows, int) else None
        self.rows = None if rows is None or isinstance(rows, int) else torch.as_tensor(rows)
        if self.rows is not None:
            if len(streams(source)) > 1:
                raise UserError("a list of rows of zipped data sets: take them before zipping")
            if len(self.rows) and int(self.rows.max()) >= len(source):
                raise UserError(f"there is no row {int(self.rows.max())}: the rows are 0 to {len(source) - 1}")
        if len(self) == 0 and len(source) > 0:
            raise UserError(f"skip={skip} leaves none of {len(source)} rows")

    def __len__(self) -> int:
        return self._taken(len(self.sources[0]))

    def _taken(self, n: int) -> int:
        if self.rows is not None:
            return len(self.rows)
        left = max(0, n - self.skip)
        return left if self.n is None else min(self.n, left)

    def streams(self) -> dict[str, Stream]:
        inner = streams(self.sources[0])
        return {path: Stream(self._taken(s.rows), s.batch_size, s.leads) for path, s in inner.items()}

    def batch(self, indices: Indices) -> Batch:
        return _renumbered(super().batch(self._below(indices)), self.skip, indices if self.rows is not None else None)

    def ahead(self, indices: Indices) -> None:
        super().ahead(self._below(indices))

    def _below(self, indices: Indices) -> Indices:
        if isinstance(indices, dict):
            return {path: self._rows(part) for path, part in indices.items()}
        return self._rows(indices)

    def _rows(self, indices: Tensor) -> Tensor:
        if self.rows is not None:
            return self.rows.to(indices.device)[indices]
        return indices + self.skip if self.skip else indices

    def to(self, device: torch.device) -> "TakenRows":
        there = super().to(device)
        there.rows = None if self.rows is None else self.rows.to(device)
        return there

    def labels(self) -> Tensor | np.ndarray | None:
        y = labels_in(self.sources[0])
        if y is None:
            return None
        if self.rows is None:
            return y[self.skip : self.skip + len(self)]
        return y[self.rows.to(y.device)] if isinstance(y, Tensor) else y[self.rows.cpu().numpy()]


def _renumbered(batch: Batch, skip: int, indices: Indices | None) -> Batch:
    """'index' in this batch and in nested ones, as indices of the taken rows."""
    if isinstance(indices, Tensor):
        return {**batch, "index": indices.to(batch["index"].device)}
    if skip == 0:
        return batch
    return {
        key: _renumbered(part, skip, None) if isinstance(part, dict) else part - skip if key == "index" else part
        for key, part in batch.items()
    }
