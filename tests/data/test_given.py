"""Data that are objects of Python: arrays, tensors, torch's data sets and mappings of splits."""

from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from frame.common.errors import UserError
from frame.data.base import whole_batch
from frame.data.digits import Digits
from frame.data.given import data_set, described

X = np.arange(200, dtype=np.float32).reshape(100, 2)
Y = np.arange(100) % 4


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (X.tolist(), Y.tolist()),
        (pandas.DataFrame(X), pandas.Series(Y)),
        {"x": X, "y": Y},
        TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)),
    ],
    ids=["arrays", "tensors", "lists", "frames", "columns", "dataset"],
)
def test_rows_are_held_out_by_class_and_keep_their_labels(given: Any, capsys: pytest.CaptureFixture[str]) -> None:
    data = data_set(given)
    assert {split: len(data.split(split)) for split in data.splits} == {"train": 80, "valid": 10, "test": 10}
    seen = []
    for split in data.splits:
        source = data.split(split)
        batch = whole_batch(source, torch.arange(len(source)))
        assert batch["y"].tolist() == [int(row) // 2 % 4 for row in batch["x"][:, 0]]
        assert set(batch["y"].tolist()) == {0, 1, 2, 3}
        seen += batch["x"][:, 0].tolist()
    assert sorted(seen) == X[:, 0].tolist()
    assert data.n_classes == 4
    assert "of 100 rows, 'test' 10, 'valid' 10 are held out" in capsys.readouterr().err


def test_a_mapping_of_splits_is_taken_as_it_is() -> None:
    parts = {"test": (X[90:], Y[90:]), "train": (X[:80], Y[:80]), "valid": X[80:90]}
    data = data_set(parts)
    assert [len(data.split(split)) for split in ("train", "valid", "test")] == [80, 10, 10]
    assert "y" not in data.split("valid").batch(torch.arange(2))
    assert data_set({"train": X}).splits == ("train", "valid")


def test_texts_are_names_of_classes() -> None:
    names = np.array(["dog", "cat"])[Y % 2]
    data = data_set({"train": (X, names), "valid": (X[:3], ["cat", "cat", "dog"])})
    assert data.classes == ["cat", "dog"]
    assert data.split("valid").batch(torch.arange(3))["y"].tolist() == [0, 0, 1]
    with pytest.raises(UserError, match="the class 'cow' has no row in 'train'"):
        data_set({"train": (X, names), "valid": (X[:1], ["cow"])})


def test_a_data_set_stays_and_is_not_changed() -> None:
    digits = Digits()
    data = data_set(digits)
    data.limit_labels(12)
    assert isinstance(data, Digits) and digits._n_labels is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((X, Y[:-1]), "data: there are 100 rows and 99 labels"),
        ({"train": (X, Y), "test": (X, Y[:3])}, "data['test']: there are 100 rows and 3 labels"),
        ({"x": X, "mask": Y[:3]}, "'mask' has the shape [3] and x 100 rows"),
        ((X, Y, Y), "data is a tuple of 3: give (x, y)"),
        ({"test": X}, "data has no split 'train', only: test"),
        ({"images": X}, "data has images and no 'x'"),
        ("digits.npz", "data is 'digits.npz': give (x, y)"),
        (DataLoader(TensorDataset(torch.zeros(3))), "data is a DataLoader: give its data set, loader.dataset"),
        (np.array([object()]), "x holds objects"),
        (3, "x is a single number"),
        ([[1, 2], [3]], "x as list"),
    ],
)
def test_what_is_no_data_is_refused_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        data_set(given)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_few_words() -> None:
    assert described((X, Y)) == "ndarray [100, 2] and ndarray [100]"
    assert described({"train": X, "test": Digits()}) == "train ndarray [100, 2], test Digits"


def test_numbers_and_several_labels_are_no_classes() -> None:
    x, random = np.random.rand(40, 3), np.random.RandomState(0)
    fractions, several = random.rand(40), random.rand(40, 2)
    for y, dtype, shape in (
        (fractions, torch.float32, ()),
        (fractions[:, None], torch.float32, ()),
        (np.arange(40.0), torch.float32, ()),  # of many values
        (several, torch.float32, (2,)),
        (several > 0.5, torch.bool, (2,)),
        ((several > 0.5).astype(int), torch.bool, (2,)),
        (np.arange(40) % 2, torch.int64, ()),
        (np.arange(40.0) % 2, torch.int64, ()),
    ):
        found = data_set((x, y))
        rows = found.split("train").batch(torch.arange(4))["y"]
        assert rows.dtype == dtype and rows.shape == (4, *shape)
        assert (found.n_classes == 2) == (dtype == torch.int64)
