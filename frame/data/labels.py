"""Checks labels, which count classes from 0, and finds those of a data set of single rows."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError


def class_numbers(y: Tensor, where: str) -> Tensor:
    """Labels [N] or [N, 1] of any type that holds whole numbers, as int64 [N].

    Raises:
        UserError: they have another shape, such as one-hot rows; or a value is not a whole number, or not finite.
    """
    if y.dim() == 2 and y.shape[1] == 1:
        y = y.squeeze(1)
    if y.dim() != 1:
        hint = ": for one-hot rows give y.argmax(1)" if y.dim() == 2 else ""
        raise UserError(f"{where}: labels have the shape {list(y.shape)}: give one number a row{hint}")
    if y.is_complex():
        raise UserError(f"{where}: labels are complex numbers: give the numbers of classes, from 0")
    if y.is_floating_point():
        wrong = ~y.isfinite() | (y != y.round()) | (y.abs() >= 2**53)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            if len(y) == 1:
                raise UserError(f"{where} is {y[0].item():g}, which is not a class")
            n = f"{int(wrong.sum())} of {len(y)} labels are"
            raise UserError(f"{where}: the label of row {row} is {y[row].item():g}: {n} not classes")
    elif y.dtype == torch.uint64 and bool((y.to(torch.int64) < 0).any()):
        raise UserError(f"{where}: a label is 2^63 or more: give the numbers of classes, from 0")
    return y.long()


def check_range(y: Tensor, n_classes: int, where: str) -> None:
    """Raises UserError if a label [N] is not in 0 .. n_classes - 1, and names the range."""
    if len(y) == 0:
        return
    low, high = int(y.min()), int(y.max())
    if low >= 0 and high < n_classes:
        return
    row = int(((y < 0) | (y >= n_classes)).nonzero()[0])
    hint = ""
    if low == 1 and high == n_classes:
        hint = ": they count from 1, give y - 1"
    elif low == -1 and high < n_classes:
        hint = ": give rows without a label to no split, or no 'y'"
    which, n = f"{where}: the label of row {row} is {int(y[row])}", f"; the labels are {low} to {high}"
    if len(y) == 1:
        which, n = f"{where} is {low}", ""
    raise UserError(f"{which}, and {n_classes} classes have 0 to {n_classes - 1}{n}{hint}")


def labels_of(data: Any) -> np.ndarray | None:
    """The labels of a data set of single rows, without reading the rows; None if they are not stored beside them.

    `targets` or `labels` as in torchvision's data sets, the last tensor of a `TensorDataset`, the column 'label'
    of a table of Hugging Face's, and those of the rows of a `Subset`.
    """
    inner, indices = getattr(data, "dataset", None), getattr(data, "indices", None)
    if inner is not None and indices is not None:
        found = labels_of(inner)
        return None if found is None else found[np.asarray(indices)]
    for name in ("targets", "labels"):
        found = _numbers(getattr(data, name, None), len(data))
        if found is not None:
            return found
    tensors: Any = getattr(data, "tensors", ())
    if len(tensors) == 2:
        return _numbers(tensors[1], len(data))
    if "label" in (getattr(data, "column_names", None) or ()):
        return _numbers(data["label"], len(data))
    return None


def _numbers(values: Any, n: int) -> np.ndarray | None:
    """Values [n] as an array if they can be classes: whole numbers, booleans or strings."""
    if values is None or callable(values):
        return None
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # rows of several lengths, a tensor that is not on the CPU
        return None
    if found.shape == (n, 1):
        found = found.reshape(n)
    return found if found.shape == (n,) and found.dtype.kind in "iubUS" else None


def missing(values: np.ndarray) -> np.ndarray:
    """Where there is no value: NaN, None or an empty word."""
    if values.dtype.kind in "biu":
        return np.zeros(values.shape, dtype=bool)
    if values.dtype.kind == "f":
        return np.isnan(values)
    import pandas as pd

    found: np.ndarray = np.asarray(pd.isna(values))
    return found | (values == "") if values.dtype.kind in "OU" else found
