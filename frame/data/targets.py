"""What 'y' of the user's own files is: classes, numbers or several labels a row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    names: tuple[str, ...] = ()  # of classes, of labels, or of several numbers if they are known
    values: tuple[Any, ...] = ()  # of classes, as they are written
    one_hot: bool = False  # classes as [N, K]
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    def coded(self, y: np.ndarray) -> np.ndarray:
        """Values [N] or [N, K] as a model is given them."""
        if self.kind == "labels":
            return y.astype(bool) if y.ndim == 2 else _marked(y, self.names)
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

    With task=auto, words, truth values, whole numbers with few different values, and those with names are classes,
    [N, K] of 0 and 1 are labels, or classes if every row has one of them, and all others are numbers. With task=labels
    words may name several labels, 'cat|dog', separated by |, ; or commas.

    Args:
        parts: values [N] or [N, K] of each split.
        task: one of TASKS.
        what: names the labels, for messages.
        names: of classes 0, 1, ..., of labels or of several numbers, if the file has them.
        standardise: whether numbers get mean 0 and variance 1 on 'train'.

    Raises:
        UserError: the values do not fit the task, or 'valid' or 'test' has a class that 'train' lacks.
    """
    every = np.concatenate(list(parts.values()))
    kind = task if task != "auto" else "classes" if names is not None and every.ndim == 1 else task_of(every)
    if kind == "numbers":
        found = _numbers(every, parts["train"], what, standardise)
        return replace(found, names=tuple(names or ())) if every.ndim == 2 else found
    if every.ndim == 2 and every.dtype.kind in "biuf" and np.isin(every, (0, 1)).all():
        named = tuple(names or map(str, range(every.shape[1])))
        one_hot = kind == "classes"
        if one_hot and not (every.sum(1) == 1).all():
            raise UserError(f"{what}: a row has several labels or none: set data.task=labels")
        return Targets(kind, named, one_hot=one_hot)
    if kind == "labels" and every.ndim == 1 and every.dtype.kind in "OU":
        return Targets(kind, _known(parts))
    if kind == "labels" or every.ndim != 1:
        raise UserError(
            f"{what}: several labels a row are columns of 0 and 1, [N, K]; these are {list(every.shape)} of "
            f"{every.dtype}: set data.task=classes or data.task=numbers, or recode them"
        )
    return _classes(every, parts, what, names)


def task_of(y: np.ndarray) -> str:
    """What values [N] or [N, K] are with task=auto, see `targets_of`."""
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
        _refuse_unknown(set(y.tolist()) - train, split, what, names)
    if names is not None:
        if not all(float(value).is_integer() and 0 <= value < len(names) for value in values):
            raise UserError(f"{what}: labels are {listed(values)}, and there are names of {len(names)} classes from 0")
        return Targets("classes", tuple(map(str, names)), tuple(range(len(names))))
    whole = every.dtype.kind == "f"
    return Targets("classes", tuple(str(int(value)) if whole else str(value) for value in values), tuple(values))


def _refuse_unknown(unknown: set[Any], split: str, what: str, names: Sequence[str] | None = None) -> None:
    """Raises UserError if 'train' lacks a class or a label of a split."""
    if unknown:
        told = [value if names is None or value not in range(len(names)) else names[value] for value in unknown]
        raise UserError(
            f"{what}: '{split}' has the classes {listed(sorted(map(str, told)))}, which 'train' lacks: a model cannot "
            "learn them; remove these rows, give 'train' some, or hold out other rows by another data.seed"
        )


def _several(value: Any) -> list[str]:
    """The labels in one word."""
    words = [] if value is None or value != value else re.split(r"[|;,]", str(value))
    return [word.strip() for word in words if word.strip()]


def _known(parts: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The labels that occur, sorted. One that 'train' lacks is predicted never, as is a column of zeros."""
    return tuple(sorted({word for y in parts.values() for value in y.tolist() for word in _several(value)}))


def _marked(y: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Which of the labels each word names, bool [N, K]."""
    found = np.zeros((len(y), len(names)), dtype=bool)
    number = {name: i for i, name in enumerate(names)}
    for row, value in zip(found, y.tolist(), strict=True):
        row[[number[word] for word in _several(value)]] = True
    return found
