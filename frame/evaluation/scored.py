"""Scores of predictions as an evaluation's numbers: of classes, of several labels a row, and of numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.data.base import DataSet, Source, class_names, labels_in
from frame.evaluation.base import Scalar
from frame.measures.scores import UNITS, by_target, kind_of, scores
from frame.measures.statistics import fraction

BY_TARGET = "targets"  # the key of the table of each label or number
UNEQUAL = 1.5  # the largest class over the smallest, from which on the balanced accuracy is told beside the accuracy
COLUMNS = {
    "labels": ["label", "F1 (%)", "average precision (%)"],
    "numbers": ["number", "R2", "mean absolute error"],
}


@dataclass(frozen=True)
class Target:
    """What 'y' of a data set is.

    Args:
        kind: 'classes', 'labels' or 'numbers'.
        several: whether a row has several labels or numbers.
        names: of the labels, numbers or classes, if they are known.
        scale: a unit of 'y' in the units of the file, a number or [K], if numbers were standardised.
        equal_classes: whether classes are about equally large, so that the balanced accuracy repeats the accuracy.
    """

    kind: str
    several: bool
    names: tuple[str, ...] = ()
    scale: Any = 1.0
    equal_classes: bool = False

    @classmethod
    def of(cls, data: DataSet, split: str) -> "Target":
        """Read from the first row of a split, and from its labels if they are known without reading the rows."""
        source = data.split(split)
        y = source.batch(torch.arange(1))["y"]
        kind = kind_of(y)
        if kind == "classes":
            return cls(kind, False, tuple(class_names(data) or ()), equal_classes=_equal_classes(source))
        coded: Any = getattr(data, "targets", None)  # of files: `frame.data.targets.Targets`
        if getattr(coded, "kind", "") != kind:
            return cls(kind, y[0].numel() > 1)
        return cls(kind, y[0].numel() > 1, coded.names, 1.0 if coded.scale is None else coded.scale)

    @property
    def units(self) -> Mapping[str, str]:
        """The units of the scores by name.

        Errors of several numbers, whose units may differ, are in a table alone; classes that are about equally large
        have no balanced accuracy.
        """
        found = dict(UNITS[self.kind])
        if self.kind == "numbers" and self.several:
            del found["mean_absolute_error"]
        if self.equal_classes:
            del found["balanced_accuracy"]
        return found

    @property
    def main(self) -> str:
        """The score that chooses between probes."""
        return next(iter(self.units))

    def told(self, floor: str = "") -> list[str]:
        """The scores of a code, or of a floor."""
        return [self.main] if floor else list(self.units)

    def named(self, n: int) -> list[str]:
        """The names of n labels or numbers."""
        return list(self.names) if len(self.names) == n else [str(i) for i in range(n)]


def _equal_classes(source: Source) -> bool:
    """Whether the largest class has fewer than `UNEQUAL` times the rows of the smallest; False if that is unknown."""
    y = labels_in(source)
    if y is None or not len(y):
        return False
    counts = y.unique(return_counts=True)[1] if isinstance(y, Tensor) else np.unique(y, return_counts=True)[1]
    return bool(counts.max() < UNEQUAL * counts.min())


def key_of(score: str, layer: str = "", floor: str = "") -> str:
    """The key of a score: 'R2', 'features/R2', 'R2/floor/pixels'. The accuracy has no name of its own."""
    parts = ["" if layer == "mean" else layer, "" if score == "accuracy" else score, f"floor/{floor}" if floor else ""]
    return "/".join(part for part in parts if part)


def declared(target: Target, layer: str = "", floor: str = "") -> dict[str, str]:
    """The units of the scores by their keys; a floor has the main score alone."""
    return {key_of(score, layer, floor): target.units[score] for score in target.told(floor)}


def by_score(target: Target, found: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The numbers in the order of the scores: the accuracies of all layers and floors before their F1."""
    names = {key: key.partition("/floor/")[0].rpartition("/")[2] for key in found}
    of = {key: list(target.units).index(name) if name in target.units else 0 for key, name in names.items()}
    return {key: found[key] for key in sorted(found, key=of.__getitem__)}


def scored(
    target: Target,
    predicted: Tensor,
    y: Tensor,
    estimator: str,
    layer: str = "",
    floor: str = "",
    width: int | None = None,
) -> dict[str, Scalar]:
    """The scores of predictions, by their keys; of a floor the main score alone.

    Standard errors and intervals are those of the rows: of the accuracy's binomial, and of the bootstrap else.

    Args:
        target: what y is.
        predicted: classes [N], probabilities of labels [N, K], or numbers like y.
        y: the labels.
        estimator: how they were predicted.
        layer, floor: of the measured code, one of them; '' if there is none.
        width: dimensions of the measured code.

    Raises:
        NoNumber: y is the same in all rows, or not finite.
    """
    found = scores(predicted, y, target.told(floor))
    made = {}
    for name in target.told(floor):
        unit = target.units[name]
        key = key_of(name, layer, floor)
        if name == "accuracy":
            right, error = fraction(predicted == y)
            made[key] = Scalar(100 * right, unit, len(y), estimator, 100 * error, layer, width=width)
            continue
        score, factor = found[name], 100.0 if unit == "%" else 1.0
        if name == "mean_absolute_error":
            factor = float(torch.as_tensor(target.scale, dtype=torch.float64).reshape(-1)[0])
        interval = None if score.interval is None else (factor * score.interval[0], factor * score.interval[1])
        made[key] = Scalar(
            factor * score.value,
            unit,
            len(y),
            estimator,
            factor * score.standard_error,
            layer,
            interval,
            better="less" if name == "mean_absolute_error" else "more",
            width=width,
        )
    return made


def table_of(target: Target, predicted: Tensor, y: Tensor) -> tuple[list[str], list[list[Any]]]:
    """A table of each of several labels or numbers [N, K]."""
    rows: list[list[Any]] = by_target(predicted, y, target.named(y.shape[1]), target.scale)
    return COLUMNS[target.kind], rows
