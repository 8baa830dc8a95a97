"""A subset of the rows."""

from typing import Any

import pytest
import torch

from frame.common.errors import UserError
from frame.data.base import whole_batch
from frame.data.digits import Digits
from frame.data.take import Take


@pytest.mark.parametrize(
    "how, kept", [({"rows": 3}, [0, 1, 2]), ({"rows": [7, 2]}, [7, 2]), ({"rows": 2, "skip": 5}, [5, 6])]
)
def test_rows_are_taken_by_their_index(how: dict[str, Any], kept: list[int]) -> None:
    data, plain = Take(Digits(), **how), Digits().split("test")
    source = data.split("test")
    batch, before = whole_batch(source, torch.arange(len(source))), whole_batch(plain, torch.tensor(kept))
    assert torch.equal(batch["x"], before["x"]) and torch.equal(batch["y"], before["y"])
    assert batch["index"].tolist() == list(range(len(kept)))


def test_splits_that_are_not_named_are_whole() -> None:
    data = Take(Digits(), 9, splits=["train"])
    assert [len(data.split(split)) for split in data.splits] == [9, 200, 300]
    assert len(Take(Digits(), skip=1290).split("train")) == 7 and len(Take(Digits(), 10**6).split("valid")) == 200


@pytest.mark.parametrize(
    "how, why",
    [
        ({"rows": 0}, "rows=0"),
        ({"rows": []}, "list of whole numbers"),
        ({"rows": [0, -1]}, "list of whole numbers"),
        ({"rows": [0, 5000]}, "Take, 'train': there is no row 5000: the rows are 0 to 1296"),
        ({"skip": 5000}, "skip=5000 leaves none of 1297 rows"),
        ({"skip": -1}, "skip=-1"),
        ({"rows": [1], "skip": 1}, "exclude each other"),
        ({"splits": ["tain"]}, "did you mean 'train'"),
    ],
)
def test_errors(how: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        Take(Digits(), **how).split("train")
