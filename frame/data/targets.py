"""What 'y' of the user's own files is: classes, numbers or several labels a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frame.common.errors import UserError, choices
from frame.data.identity import listed

TASKS = ("auto", "classes", "numbers", "labels")
MOST_WHOLE = 100  # distinct whole numbers that are taken for classes
MOST_FLOATS = 20  # the same for whole numbers that are written as floats


def check_task(task: str) -> None:
    """Raises UserError for a word that is not in TASKS."""
    if task not in TASKS:
        raise UserError(choices(str(task), TASKS, kind="task"))


@dataclass(frozen=True)
class Targets:
    """How values are coded.

    'classes': int64 [N], which count `names` from 0. 'numbers': float32 [N] or [N, K], of mean 0 and variance 1 on
    'train' if `mean` and `scale` are given. 'labels': bool [N, K], which of the K `names` a row has.
    """

    kind: str
    names: tuple[str, ...] = ()  # of classes, or of labels
    values: tuple[Any, ...] = ()  # of classes, as they are written
    one_hot: bool = False
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    def coded(self, y: np.ndarray) -> np.ndarray:
        """Values [N] or [N, K] as a model is given them."""
        if self.kind == "labels":
            return y.astype(bool)
        if self.kind == "numbers":
            y = y.astype(np.float64)
            return (y if self.mean is None else (y - self.mean) / self.scale).astype(np.float32)
        if self.one_hot:
            return np.asarray(y.argmax(1))
        number = {value: i for i, value in enumerate(self.values)}
        return np.array([number[value] for value in y.tolist()], dtype=np.int64)

    @property
    def told(self) -> str:
        """In a few words."""
        if self.kind == "classes":
            return f"{len(self.names)} classes ({listed(self.names, 4)})"
        if self.kind == "labels":
            return f"{len(self.names)} labels a row"
        return "numbers" if self.mean is None else "numbers, of mean 0 and variance 1 on train"


def targets_of(
    parts: Mapping[str, np.ndarray],
    task: str,
    what: str,
    names: Sequence[str] | None = None,
    standardise: bool = False,
) -> Targets:
    """How the labels of all splits are coded.

    With task=auto, words, truth values, and whole numbers with few different values are classes, [N, K] of 0 and 1 are
    labels, or classes if every row has one of them, and all others are numbers.

    Args:
        parts: values [N] or [N, K] of each split.
        task: one of TASKS.
        what: names the labels, for messages.
        names: of classes 0, 1, ..., or of labels, if the file has them.
        standardise: whether numbers get mean 0 and variance 1 on 'train'.

    Raises:
        UserError: the values do not fit the task, or 'valid' or 'test' has a class that 'train' lacks.
    """
    every = np.concatenate(list(parts.values()))
    kind = _kind(every) if task == "auto" else task
    if kind == "numbers":
        return _numbers(every, parts["train"], what, standardise)
    if every.ndim == 2 and every.dtype.kind in "biuf" and np.isin(every, (0, 1)).all():
        named = tuple(names or map(str, range(every.shape[1])))
        one_hot = kind == "classes"
        if one_hot and not (every.sum(1) == 1).all():
            raise UserError(f"{what}: a row has several labels or none: set data.task=labels")
        return Targets(kind, named, one_hot=one_hot)
    if kind == "labels" or every.ndim != 1:
        raise UserError(
            f"{what}: several labels a row are columns of 0 and 1, [N, K]; these are {list(every.shape)} of "
            f"{every.dtype}: set data.task=classes or data.task=numbers, or recode them"
        )
    return _classes(every, parts, what, names)


def _kind(y: np.ndarray) -> str:
    if y.ndim == 2:
        if y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
            return "numbers"
        return "classes" if (y.sum(1) == 1).all() else "labels"
    if y.dtype.kind not in "iuf":
        return "classes"
    if y.dtype.kind == "f" and not (y == np.round(y)).all():
        return "numbers"
    n = len(np.unique(y))
    return (
        "classes"
        if n <= (MOST_FLOATS if y.dtype.kind == "f" else MOST_WHOLE) and 2 * n <= max(len(y), 4)
        else "numbers"
    )


def _numbers(every: np.ndarray, train: np.ndarray, what: str, standardise: bool) -> Targets:
    if every.dtype.kind not in "biuf":
        raise UserError(f"{what} holds words and no numbers: set data.task=classes, or name another label")
    if not np.isfinite(every.astype(np.float64)).all():
        raise UserError(f"{what} has infinite values: remove these rows")
    if not standardise:
        return Targets("numbers")
    mean, scale = train.astype(np.float64).mean(0), train.astype(np.float64).std(0)
    return Targets("numbers", mean=mean, scale=np.where(scale > 0, scale, 1.0))


def _classes(every: np.ndarray, parts: Mapping[str, np.ndarray], what: str, names: Sequence[str] | None) -> Targets:
    if every.dtype.kind == "f" and not (every == np.round(every)).all():
        raise UserError(f"{what} has fractions, which are no classes: set data.task=numbers")
    values = sorted(set(every.tolist()), key=lambda value: (isinstance(value, str), value))
    train = set(parts["train"].tolist())
    for split, y in parts.items():
        unknown = sorted(set(y.tolist()) - train, key=str)
        if unknown:
            raise UserError(
                f"{what}: '{split}' has the classes {listed(unknown)}, which 'train' lacks: a model cannot learn them; "
                "remove these rows, give 'train' some, or hold out other rows by another data.seed"
            )
    if names is not None:
        if not all(float(value).is_integer() and 0 <= value < len(names) for value in values):
            raise UserError(f"{what}: labels are {listed(values)}, and there are names of {len(names)} classes from 0")
        return Targets("classes", tuple(map(str, names)), tuple(range(len(names))))
    whole = every.dtype.kind == "f"
    return Targets("classes", tuple(str(int(value)) if whole else str(value) for value in values), tuple(values))
