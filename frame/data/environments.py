"""Environments of rows as numbers: a column of the user's files names them, such as hospitals or years."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frame.common.errors import UserError
from frame.data.identity import listed
from frame.data.labels import missing


@dataclass(frozen=True)
class Environments:
    """The numbers of environments: those of 'train' from 0, in the order of their names, and behind them all others.

    Args:
        numbers: by the value in the column.
        n_trained: the environments of 'train'.
        told: one line on them.
    """

    numbers: Mapping[Any, int]
    n_trained: int
    told: str

    def coded(self, column: np.ndarray) -> np.ndarray:
        """The number of each row's environment, [N], int64."""
        return np.array([self.numbers[value] for value in _plain(column)], dtype=np.int64)


def environments_of(columns: Mapping[str, np.ndarray], name: str, where: str) -> Environments | None:
    """The environments of the splits that have the column `name`, each [N]; None if 'train' has none.

    `where` stands before messages.

    Raises:
        UserError: a row has no value, or several.
    """
    for split, column in columns.items():
        if column.ndim != 1:
            raise UserError(
                f"{where}, '{split}': '{name}' has the shape {list(column.shape)}: give one environment a row"
            )
        if (gone := missing(column)).any():
            raise UserError(f"{where}, '{split}': '{name}' has no value in row {int(gone.argmax())}: fill it in")
    if "train" not in columns:
        return None
    has = {split: sorted(set(_plain(column))) for split, column in columns.items()}
    trained = has["train"]
    others = sorted({value for values in has.values() for value in values} - set(trained))
    told = [f"'{name}': {len(trained)} environments ({listed(list(map(str, trained)))})"]
    for split, values in has.items():
        if new := [str(value) for value in values if value not in trained]:
            told.append(f"'{split}' has others ({listed(new)})")
    numbers = {value: number for number, value in enumerate([*trained, *others])}
    return Environments(numbers, len(trained), ", ".join(told))


def _plain(column: np.ndarray) -> list[Any]:
    """Its values as numbers, or else as words, which can be sorted."""
    return column.tolist() if column.dtype.kind in "biuf" else [str(value) for value in column.tolist()]
