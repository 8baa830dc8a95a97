"""Rows of 'valid' and 'test' that are also in 'train', or nearly: a check of a bounded number of rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from frame.common.errors import UserError

SOME_TRAIN, SOME_HELD = 1000, 250  # rows that are decoded to be compared
MOST_TRAIN, MOST_HELD = 20_000, 2_000  # rows that are compared; equal rows are found among all
DIMENSIONS = 24  # of the projection
NEAR = 0.02  # share of the usual distance of two rows below which they can be nearly equal
NEAREST = 0.1  # share of the distance of nearest rows (its 90th percentile) below which they are
CERTAIN = 0.002  # share of the usual distance below which they are in any case
FEWEST = 8  # numbers of a row; shorter rows are often near by chance, and only equal ones are counted
CHUNK = 1 << 22  # distances at once


def some_duplicates_told(splits: Mapping[str, Any]) -> str:
    """The same for sources that are read one by one: up to `SOME_TRAIN` and `SOME_HELD` rows of them are compared."""
    some = {}
    for name, source in splits.items():
        n = min(SOME_TRAIN if name == "train" else SOME_HELD, len(source))
        rows = torch.linspace(0, len(source) - 1, n).round().long()
        try:
            some[name] = source.batch(rows)["x"].numpy()
        except UserError:  # rows of several shapes, or broken ones, of which training tells
            return ""
    return duplicates_told(some, " that were compared")


def duplicates_told(splits: Mapping[str, np.ndarray], which: str = "") -> str:
    """One line with the numbers of equal and nearly equal rows; '' if there are none.

    Args:
        splits: rows [N, ...] by split.
        which: what is said of the rows, such as ' that were compared'.
    """
    parts = []
    for name in ("valid", "test"):
        if name in splits and "train" in splits:
            same, near, n = duplicates(splits["train"], splits[name])
            if same or near:
                nearly = f", and {near} nearly so" if near else ""
                parts.append(f"{same} of {n} rows of '{name}'{which} are equal to one of 'train'{nearly}")
    return (
        f"{'; '.join(parts)}: numbers measured there flatter a model; remove them, or keep groups whole"
        if parts
        else ""
    )


def duplicates(train: np.ndarray, held: np.ndarray) -> tuple[int, int, int]:
    """Rows of `held` that are equal to a row of `train`, rows that are nearly so, and how many were looked at.

    Equal rows are found by their bytes. Others are compared with the nearest row of `train` in a random projection to
    `DIMENSIONS` dimensions (Johnson & Lindenstrauss 1984). They are nearly equal if the full distance is below `NEAR`
    of the usual distance, the root of the mean squared distance of two rows, and far below that of most nearest rows.
    The first `MOST_TRAIN` and `MOST_HELD` rows are compared so.

    Args:
        train, held: [N, ...] and [M, ...], of one type.
    """
    n = len(held)
    if (
        not len(train)
        or train.dtype != held.dtype
        or train.shape[1:] != held.shape[1:]
        or train.dtype.kind not in "biuf"
    ):
        return 0, 0, n
    known = {row.tobytes() for row in train}
    equal = np.array([row.tobytes() in known for row in held], dtype=bool)
    near = _nearly(_flat(train[:MOST_TRAIN]), _flat(held[:MOST_HELD])) & ~equal[:MOST_HELD]
    return int(equal.sum()), int(near.sum()), n


def _flat(x: np.ndarray) -> np.ndarray:
    return np.asarray(x.reshape(len(x), -1), dtype=np.float32)


def _nearly(train: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Whether each row of `held` is nearly one of `train`, [M]."""
    centre = train.mean(0)
    spread = 2 * float((train - centre).astype(np.float64).var(0).sum())  # mean of |a - b|^2 over two rows
    if not 0 < spread < np.inf or train.shape[1] < FEWEST:
        return np.zeros(len(held), dtype=bool)
    width = train.shape[1]
    directions = np.random.RandomState(0).standard_normal((width, DIMENSIONS)).astype(np.float32) / DIMENSIONS**0.5
    few = width <= DIMENSIONS
    near, there = (rows - centre if few else (rows - centre) @ directions for rows in (train, held))
    squares = np.square(near).sum(1)
    away = np.empty(len(held))
    step = max(1, CHUNK // len(train))
    for start in range(0, len(there), step):
        some = there[start : start + step]
        distances = squares + np.square(some).sum(1)[:, None] - 2 * some @ near.T  # [m, N]
        nearest = train[distances.argmin(1)]
        away[start : start + step] = np.square(held[start : start + step] - nearest, dtype=np.float64).sum(1) ** 0.5
    usual = spread**0.5
    return away < min(NEAR * usual, max(NEAREST * float(np.quantile(away, 0.9)), CERTAIN * usual))
