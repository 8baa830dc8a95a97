"""Rows are held out by class, in whole groups or in time, by a seed, and a line says how."""

from typing import Any

import numpy as np
import pytest

from frame.common.errors import UserError
from frame.data.splits import Part, Splitting, divided, held_out, last, share, split_named, whole_groups


def test_small_classes_are_in_both_where_they_can_be() -> None:
    y = [0] * 90 + [1] * 5 + [2] * 2 + [3]
    valid = held_out(len(y), 0.1, np.array(y))
    assert np.bincount(np.array(y)[valid], minlength=4).tolist() == [9, 1, 1, 0]
    assert share([2] * 100, 0.1).count(1) == 40  # at most a fifth of all
    assert share([50, 50], 0.1) == [5, 5] and share([15, 15], 0.1) == [2, 1] and share([1], 0.1) == [0]
    assert share([10, 10], 0) == [0, 0]


def test_without_classes_rows_are_held_out_at_random_by_the_seed() -> None:
    assert held_out(100, 0.1, None).tolist() == held_out(100, 0.1, np.arange(100)).tolist()
    assert held_out(100, 0.1, None, seed=0).tolist() != held_out(100, 0.1, None, seed=1).tolist()
    assert [len(held_out(n, part, None)) for n, part in ((100, 0.1), (3, 0.1), (2, 0.9))] == [10, 1, 1]


def test_every_row_is_in_one_split_and_every_class_in_all() -> None:
    labels = np.repeat(["a", "b", "c"], [50, 30, 20])
    found = divided({"train": Part(100, labels)}, Splitting(n_valid=0.2, n_test=0.1, seed=3))
    rows = {split: rows for split, (_, rows) in found.rows.items()}
    assert list(rows) == ["train", "valid", "test"] and sorted(np.concatenate([*rows.values()])) == list(range(100))
    counts = {split: np.unique(labels[some], return_counts=True)[1].tolist() for split, some in rows.items()}
    assert counts == {"train": [35, 21, 14], "valid": [10, 6, 4], "test": [5, 3, 2]}
    assert found.told == "20 as 'valid' and 10 as 'test' held out of 100 rows, the same share of every class, seed 3"


def test_only_what_is_not_given_is_held_out() -> None:
    found = divided({"train": Part(50), "test": Part(7)}, Splitting())
    assert {split: (part, len(rows)) for split, (part, rows) in found.rows.items()} == {
        "train": ("train", 45), "valid": ("train", 5), "test": ("test", 7),
    }  # fmt: skip
    assert divided({"train": Part(50)}, Splitting(n_valid=0, n_test=0)).told == ""
    assert list(divided({"train": Part(50)}, Splitting(n_test=0)).rows) == ["train", "valid"]


def test_groups_stay_whole_and_their_classes_are_in_like_shares() -> None:
    random = np.random.RandomState(0)
    groups = random.randint(0, 40, 1000)
    labels = np.where(groups < 20, "ill", "well")
    found = divided({"train": Part(1000, labels, groups)}, Splitting(0.2, 0.2, group="patient"))
    parts = {split: rows for split, (_, rows) in found.rows.items()}
    of = {split: set(groups[rows].tolist()) for split, rows in parts.items()}
    assert not of["train"] & of["valid"] and not of["train"] & of["test"] and not of["valid"] & of["test"]
    for rows in (parts["valid"], parts["test"]):
        assert 170 < len(rows) < 230 and 0.4 < (labels[rows] == "ill").mean() < 0.6
    assert "whole groups of 'patient' (40 in all)" in found.told
    again = divided({"train": Part(1000, labels, groups)}, Splitting(0.2, 0.2, group="patient"))
    assert again.rows["test"][1].tolist() == parts["test"].tolist()
    with pytest.raises(UserError, match="'patient' has 1 groups left"):
        whole_groups(np.zeros(10), 0.1, None, name="patient")


def test_the_last_in_time_are_held_out_and_equal_times_stay_together() -> None:
    times = np.array([5, 1, 4, 2, 3, 9, 8, 7, 6, 0])
    found = divided({"train": Part(10, times=times)}, Splitting(0.2, 0.2, split_by="time", time="day"))
    assert {split: sorted(times[rows]) for split, (_, rows) in found.rows.items()} == {
        "train": [0, 1, 2, 3, 4, 5], "valid": [6, 7], "test": [8, 9],
    }  # fmt: skip
    assert "the last by the column 'day'" in found.told
    assert last(10, 0.2, None).tolist() == [8, 9]
    assert last(6, 0.4, np.array([1, 1, 2, 2, 2, 3])).tolist() == [5]  # the border lies between two times
    assert last(6, 0.2, np.array([1, 1, 2, 2, 3, 3])).tolist() == [4, 5]


def test_an_order_of_the_rows_own_takes_the_place_of_the_seed() -> None:
    order = np.arange(20)[::-1].copy()
    rows = divided({"train": Part(20, order=order)}, Splitting(n_valid=0.1, n_test=0.1, seed=8)).rows
    assert rows["test"][1].tolist() == [18, 19] and rows["valid"][1].tolist() == [16, 17]


@pytest.mark.parametrize(
    ("parts", "how", "says"),
    [
        ({"test": Part(5)}, {}, "there is no split 'train', only test"),
        ({"train": Part(1)}, {}, "too few to hold out"),
        (
            {"train": Part(2, groups=np.array(["a", "b"])), "test": Part(2, groups=np.array(["b", "c"]))},
            {"group": "donor"},
            "'train' and 'test' share 1 groups \\(b\\)",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused(parts: dict[str, Part], how: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        divided(parts, Splitting(**how))


def test_a_column_names_the_split_of_each_row() -> None:
    names = np.array(["train", "val", "Train", "test", "dev", "training"], dtype=object)
    found = divided({"train": Part(6, splits=names)}, Splitting(split_by="fold"))
    assert {split: rows.tolist() for split, (_, rows) in found.rows.items()} == {
        "train": [0, 2, 5], "valid": [1, 4], "test": [3],
    }  # fmt: skip
    assert found.told == "3 as 'train', 2 as 'valid', 1 as 'test' by the column 'fold'"
    lacks = np.array(["train", "test"] * 50)
    found = divided({"train": Part(100, splits=lacks)}, Splitting(n_valid=0.2, split_by="fold"))
    rows = {split: rows.tolist() for split, (_, rows) in found.rows.items()}
    assert rows["test"] == list(range(1, 100, 2)) and len(rows["valid"]) == 20
    assert sorted(rows["train"] + rows["valid"]) == list(range(0, 100, 2))
    assert "by the column 'fold'; 20 as 'valid' held out of 100 rows" in found.told


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (
            {"train": Part(2, splits=np.array(["train", "fold 1"]))},
            "'fold' has fold 1: it must say train",
        ),
        ({"train": Part(2, splits=np.array(["valid", "test"]))}, "names no row 'train', only valid, test"),
        ({"train": Part(1, splits=np.array(["train"])), "test": Part(1)}, "divides one file, and there is also test"),
        (
            {"train": Part(3, groups=np.array([1, 1, 2]), splits=np.array(["train", "test", "train"]))},
            "'train' and 'test' share 1 groups",
        ),
    ],
)
def test_columns_that_divide_rows_badly_are_refused(parts: dict[str, Part], says: str) -> None:
    with pytest.raises(UserError, match=says):
        divided(parts, Splitting(split_by="fold"))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"n_valid": 0.6, "n_test": 0.5}, "must be parts of 1"),
        ({"n_valid": -0.1}, "must be parts of 1"),
        ({"time": "day"}, "only with split_by=time"),
        ({"group": "donor", "split_by": "time"}, "exclude each other"),
    ],
)
def test_settings_out_of_range_are_refused(how: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Splitting(**how)


def test_names_of_splits_by_others() -> None:
    assert [split_named(name) for name in ("Validation", "dev", "trn", "x")] == ["valid", "valid", "train", None]
