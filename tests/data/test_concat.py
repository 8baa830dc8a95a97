"""Concatenated data sets."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from frame.common.errors import UserError
from frame.data.base import DataSet, Source, whole_batch
from frame.data.concat import Concat, ConcatRows
from frame.data.loader import Loader
from frame.data.memory import InMemory
from frame.data.take import Take


def grey(n: int, value: int) -> InMemory:
    return InMemory(torch.full((n, 1, 2, 2), value, dtype=torch.uint8), torch.zeros(n))


def test_rows_are_concatenated_and_transformed_by_their_own_source() -> None:
    floats = TensorDataset(torch.full((4, 1, 2, 2), 0.25), torch.arange(4))
    data = Concat([{"train": grey(3, 255), "test": grey(2, 0)}, {"train": floats, "valid": floats}])
    assert data.splits == ("train", "valid", "test")
    assert [len(data.split(split)) for split in data.splits] == [7, 4, 2]
    source = data.split("train")
    order = torch.tensor([5, 0, 3, 2, 6])
    batch = whole_batch(source, order)
    assert batch["index"].tolist() == order.tolist() and batch["y"].tolist() == [2, 0, 0, 0, 3]
    assert batch["x"][:, 0, 0, 0].tolist() == [0.25, 1, 0.25, 1, 0.25]
    assert whole_batch(source, torch.tensor([1]))["x"].unique().tolist() == [1]


def test_a_mapping_by_any_names_is_taken() -> None:
    assert len(Concat({"a": {"train": grey(3, 1)}, "b": {"train": grey(4, 1)}}).split("train")) == 7


@pytest.mark.parametrize(
    "other, why",
    [
        (
            InMemory(torch.zeros(3, 1, 2, 2)),
            r"data set 1 have x, y, of data set 2 x: Map both to the same entries \(y\)",
        ),
        (
            InMemory(torch.zeros(3, 1, 2, 3), [0, 1, 2]),
            r"'x' is float32 \[1, 2, 2\] in data set 1 and float32 \[1, 2, 3\]",
        ),
        (InMemory(np.zeros((3, 5), int), [0, 1, 2]), r"'x' is float32 \[1, 2, 2\] in data set 1 and int64 \[5\]"),
    ],
)
def test_rows_that_are_not_alike_are_refused_in_one_line(other: InMemory, why: str) -> None:
    with pytest.raises(UserError, match=f"Concat, 'train': .*{why}") as caught:
        Concat([{"train": grey(3, 1)}, {"train": other}]).split("train")
    assert "\n" not in str(caught.value)


def test_labels_of_unlike_classes_are_refused() -> None:
    class Named(DataSet):
        splits = ("train",)

        def __init__(self, *names: str) -> None:
            super().__init__()
            self.names = names

        @property
        def classes(self) -> list[str]:
            return list(self.names)

        def load(self, split: str) -> Source:
            return grey(2, 1)

    assert Concat([Named("cat", "dog"), Named("cat", "dog")]).classes == ["cat", "dog"]
    with pytest.raises(UserError, match="different classes: cat, dog; dog, cat"):
        Concat([Named("cat", "dog"), Named("dog", "cat")]).split("train")
    with pytest.raises(UserError, match="at least one"):
        Concat([])


def test_a_bad_row_of_a_part_is_found() -> None:
    rows = TensorDataset(torch.zeros(5, 1, 2, 2), torch.tensor([0, 1, 0, 1, 9]))
    data = Concat([{"train": grey(3, 1)}, {"train": rows, "valid": rows}])
    data.split("train")
    with pytest.raises(UserError, match="row 4.*is 9, and 2 classes"):
        data.limit_labels(2)
    Concat([Take({"train": rows, "valid": rows}, 4)]).limit_labels(2)  # the bad row is not taken


def test_a_loader_gives_the_rows_of_all_parts() -> None:
    rows = ConcatRows(InMemory(torch.zeros(20, 3)), InMemory(torch.ones(11, 3)))
    x = torch.cat([batch["x"] for batch in Loader(rows, 4)])
    assert len(x) == 31 and x[:, 0].sum() == 11
