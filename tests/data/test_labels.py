"""Labels count classes from 0 over the whole split, and held-out rows are stratified by class."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from frame.common.errors import UserError
from frame.data.base import DataSet, Source
from frame.data.labels import labels_of
from frame.data.memory import InMemory
from frame.data.per_sample import PerSample, as_data_set

X = torch.zeros(6, 3)


@pytest.mark.parametrize(
    "y",
    [
        torch.tensor([0, 1, 2, 0, 1, 2], dtype=dtype)
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float64)
    ]
    + [
        torch.tensor([[0], [1], [2], [0], [1], [2]]),
        torch.tensor([0, 1, 2, 0, 1, 2]).to(torch.uint64),
        np.array([0, 1, 2, 0, 1, 2], ">i2"),
        np.array([0, 1, 2, 0, 1, 2], object).astype(float),
        [0, 1, 2, 0, 1, 2],
    ],
)
def test_whole_numbers_of_any_type_are_labels(y: Any) -> None:
    source = InMemory(X, y)
    assert source.y is not None and source.y.dtype == torch.int64 and source.y.tolist() == [0, 1, 2, 0, 1, 2]


def test_booleans_are_two_classes() -> None:
    source = InMemory(X, torch.tensor([True, False] * 3))
    assert source.y is not None and source.y.tolist() == [1, 0] * 3


@pytest.mark.parametrize(
    "y, why",
    [
        (torch.tensor([0, 1, 2, float("nan"), 1, float("nan")]), "row 3 is nan: 2 of 6 labels are not classes"),
        (torch.tensor([0, 1, 2, float("inf"), 1, 2]), "row 3 is inf"),
        (torch.tensor([0, 1, 2.5, 3, 1, 2]), "row 2 is 2.5"),
        (torch.eye(6), r"shape \[6, 6\].*argmax"),
        (torch.zeros(6, 2, 2), r"shape \[6, 2, 2\]"),
        (torch.tensor(3), r"shape \[\]"),
        (torch.zeros(6, dtype=torch.complex64), "complex"),
        (np.array(["cat"] * 6), "words"),
        (np.array([1, None] * 3, object), "objects"),
        (np.array([2**63] * 6, np.uint64), "2\\^63"),
        (np.ma.masked_equal([0, 1, 2, 3, 4, 9], 9), "1 masked"),
        (torch.zeros(5), "6 rows and 5 labels"),
    ],
)
def test_invalid_labels_are_refused_in_one_line(y: Any, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        InMemory(X, y)
    assert "\n" not in str(caught.value)


class Given(DataSet):
    """Labels as they are given, in memory."""

    splits = ("train",)

    def __init__(self, y: Any, n_classes: int | None = None) -> None:
        super().__init__()
        self.y, self.n = y, n_classes

    @property
    def n_classes(self) -> int | None:
        return self.n

    def load(self, split: str) -> Source:
        return InMemory(torch.zeros(len(self.y), 3), torch.as_tensor(self.y))


@pytest.mark.parametrize(
    "last, why",
    [
        (3, "row 199 is 3, and 3 classes have 0 to 2; the labels are 0 to 3"),
        (-1, "row 199 is -1, .*rows without a label"),
        (2**40, "row 199 is 1099511627776"),
    ],
)
def test_the_last_label_of_many_is_checked(last: int, why: str) -> None:
    y = [i % 3 for i in range(199)] + [last]
    with pytest.raises(UserError, match=why):
        Given(y, 3).split("train")
    data = Given(y)  # it does not know the number of classes, but a model does
    data.split("train")
    with pytest.raises(UserError, match=why):
        data.limit_labels(3)
    late = Given(y)
    late.limit_labels(3)
    with pytest.raises(UserError, match=why):
        late.split("train")


def test_labels_that_count_from_1_get_advice() -> None:
    with pytest.raises(UserError, match="count from 1, give y - 1"):
        Given([1, 2, 3], 3).split("train")


class Lazily(Dataset):
    """Rows that are made on demand."""

    def __init__(self, y: list[Any]) -> None:
        self.y = y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
        return torch.full((2,), float(index)), self.y[index]


@pytest.mark.parametrize(
    "label, why",
    [
        (7, "Lazily, row 5: 'y' is 7, and 3 classes have 0 to 2"),
        (-1, "Lazily, row 5: 'y' is -1"),
        (float("nan"), "Lazily, row 5: 'y' is nan"),
        (torch.eye(3)[0], r"Lazily, row 5.*shape \[3\]"),
        ("cat", "Lazily, row 5: 'y' as str"),
    ],
)
def test_a_row_s_label_is_checked_when_it_is_read(label: Any, why: str) -> None:
    data = as_data_set({"train": Lazily([0, 1, 2, 0, 1, label, 2]), "valid": Lazily([0])})
    data.limit_labels(3)
    source = data.split("train")
    source.batch(torch.tensor([0, 1, 6]))
    with pytest.raises(UserError, match=why):
        source.batch(torch.tensor([4, 5]))


def test_whole_floats_are_classes_where_classes_are_counted() -> None:
    source = PerSample(Lazily([2.0, 0.5]))
    assert source.batch(torch.tensor([0]))["y"].dtype == torch.float32  # their meaning is unknown
    source.n_classes = 3
    assert source.batch(torch.tensor([0]))["y"].tolist() == [2]


# Held-out rows


def test_labels_that_repeat_in_a_pattern() -> None:
    for rows in (
        TensorDataset(torch.zeros(500, 2), torch.arange(500) % 10),
        Lazily([i % 10 for i in range(500)]),
        Subset(TensorDataset(torch.zeros(1000, 2), torch.arange(1000) % 10), range(250, 750)),
    ):
        data = as_data_set(rows)
        sources = {split: data.split(split) for split in data.splits}
        parts = {split: source.batch(torch.arange(len(source)))["y"] for split, source in sources.items()}
        assert torch.bincount(parts["valid"]).tolist() == [5] * 10
        assert torch.bincount(parts["train"]).tolist() == [45] * 10


def test_the_same_rows_give_the_same_splits_in_any_order_of_asking() -> None:
    rows = TensorDataset(torch.arange(300).float().unsqueeze(1), torch.arange(300) % 7)
    found: list[list[float]] = []
    for order in (("train", "valid"), ("valid", "train"), ("valid",)):
        data = as_data_set(rows)
        torch.manual_seed(len(found))
        np.random.seed(len(found))
        for split in order:
            data.split(split)
        found.append(data.split("valid").batch(torch.arange(len(data.split("valid"))))["x"].flatten().tolist())
    assert found[0] == found[1] == found[2] and found[0] != [9 + 10 * i for i in range(30)]


def test_without_class_labels_rows_are_held_out_at_random() -> None:
    data = as_data_set(Lazily([i / 7 for i in range(50)]))  # regression
    assert [len(data.split(split)) for split in ("train", "valid")] == [45, 5]


def test_labels_are_found_beside_the_rows_of_other_libraries() -> None:
    class Torchvision:
        targets = [2, 0, 1]
        classes = ["a", "b", "c"]

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            raise AssertionError("no row is read")

    class Table(Torchvision):
        targets = None  # type: ignore[assignment]
        column_names = ["image", "label"]

        def __getitem__(self, index: Any) -> Any:
            return {"label": [1, 1, 0]}[index]

    class Other(Torchvision):
        targets = "no labels"  # type: ignore[assignment]

    for rows, labels in ((Torchvision(), [2, 0, 1]), (Table(), [1, 1, 0])):
        found = labels_of(rows)
        assert found is not None and found.tolist() == labels
    assert labels_of(Other()) is None
    data = as_data_set({"train": Torchvision(), "valid": Torchvision()})
    assert data.classes == ["a", "b", "c"] and data.n_classes == 3
