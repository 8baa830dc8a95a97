"""Changed batches."""

from typing import Any

import pytest
import torch

from frame.common.errors import UserError
from frame.data.base import Batch, whole_batch
from frame.data.digits import Digits
from frame.data.map import Keep, Map, Rename


def parity(batch: Batch, generator: torch.Generator) -> Batch:
    return {"x": batch["x"].flatten(1), "y": batch["y"] % 2}


def test_a_mapped_column() -> None:
    data, plain, rows = Map(Digits(), parity, n_classes=2), Digits(), torch.tensor([5, 1, 8])
    batch, before = whole_batch(data.split("valid"), rows), whole_batch(plain.split("valid"), rows)
    assert torch.equal(batch["y"], before["y"] % 2) and torch.equal(batch["x"], before["x"].flatten(1))
    assert batch["index"].tolist() == rows.tolist()
    assert data.n_classes == 2 and data.shape == (64,) and data.row == "row" and data.keys == ("x", "y")
    data.limit_labels(2)  # not those of the digits


def test_entries_are_kept_and_renamed() -> None:
    assert Map(Digits(), Keep(["x"])).keys == ("x",) and Map(Digits(), Rename({"y": "env"})).keys == ("x", "env")
    assert Map(Digits(), Keep(["x"])).n_classes == 10 and Map(Digits(), Rename({"y": "env"})).n_classes is None
    cases: tuple[tuple[Any, str], ...] = (
        (Keep(["x", "factors"]), "no 'factors' to keep: a batch has x, index, y"),
        (Rename({"z": "x"}), "no 'z' to rename"),
        (Keep(["y"]), "leaves y, index in a batch, and no 'x'|leaves index, y in a batch, and no 'x'"),
        (lambda batch, generator: None, "returns NoneType, and must return a batch"),
    )
    for function, why in cases:
        with pytest.raises(UserError, match=why):
            _ = Map(Digits(), function).shape
    with pytest.raises(UserError, match="cannot be called"):
        Map(Digits(), 3)  # type: ignore[arg-type]
