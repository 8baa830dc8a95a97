"""Labels of the user's own files are classes, numbers or several labels a row."""

from typing import Any

import numpy as np
import pytest

from frame.common.errors import UserError
from frame.data.targets import targets_of


@pytest.mark.parametrize(
    ("y", "kind", "names", "coded"),
    [
        (["b", "a", "b", "a"], "classes", ("a", "b"), [1, 0, 1, 0]),
        ([10, 2, 10, 2], "classes", ("2", "10"), [1, 0, 1, 0]),  # by size, not by letters
        ([1.0, 2.0, 1.0, 2.0], "classes", ("1", "2"), [0, 1, 0, 1]),
        ([True, False, True, False], "classes", ("False", "True"), [1, 0, 1, 0]),
        ([0.5, 1.5, 2.0, 1.0], "numbers", (), [0.5, 1.5, 2.0, 1.0]),
        ([3, 7, 12, 90, 41, 55], "numbers", (), [3, 7, 12, 90, 41, 55]),  # hardly two of them are equal
        ([[0, 1], [1, 1], [0, 0]], "labels", ("0", "1"), [[False, True], [True, True], [False, False]]),
        ([[0, 1], [1, 0], [1, 0]], "classes", ("0", "1"), [1, 0, 0]),  # one-hot
        ([[0.5, 1], [2, 0]], "numbers", (), [[0.5, 1], [2, 0]]),
    ],
)
def test_what_labels_are_is_seen(y: list[Any], kind: str, names: tuple[str, ...], coded: list[Any]) -> None:
    values = np.array(y, dtype=object if isinstance(y[0], str) else None)
    found = targets_of({"train": values}, "auto", "'y'")
    assert (found.kind, found.names) == (kind, names) and found.coded(values).tolist() == coded


def test_numbers_are_standardised_on_train_alone() -> None:
    parts = {"train": np.array([1.0, 3.0]), "test": np.array([102.0])}
    found = targets_of(parts, "numbers", "'y'", standardise=True)
    assert found.coded(parts["train"]).tolist() == [-1, 1] and found.coded(parts["test"]).tolist() == [100]


def test_words_may_name_several_labels() -> None:
    words = np.array(["cat|dog", "dog", None, " owl ; cat", ""], dtype=object)
    found = targets_of({"train": words}, "labels", "'y'")
    assert (found.kind, found.names) == ("labels", ("cat", "dog", "owl"))
    assert found.coded(words).astype(int).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]]
    rare = {"train": words, "test": np.array(["emu|cat"], dtype=object)}
    assert targets_of(rare, "labels", "'y'").names == ("cat", "dog", "emu", "owl")


def test_several_numbers_keep_their_names() -> None:
    y = np.array([[0.5, 1], [2, 0]])
    assert targets_of({"train": y}, "auto", "'y'", ["waist", "pulse"]).names == ("waist", "pulse")


def test_names_in_the_file_are_those_of_the_classes() -> None:
    found = targets_of({"train": np.array([0, 2, 0, 2])}, "auto", "'y'", ["low", "middle", "high"])
    assert found.names == ("low", "middle", "high") and found.coded(np.array([2])).tolist() == [2]


@pytest.mark.parametrize(
    ("parts", "task", "says"),
    [
        ({"train": ["a", "a"], "test": ["b"]}, "auto", "'test' has the classes b, which 'train' lacks"),
        ({"train": ["a", "b"]}, "numbers", "words and no numbers"),
        ({"train": [0.5, 1.0]}, "classes", "fractions, which are no classes"),
        ({"train": [0, 1]}, "labels", "columns of 0 and 1"),
        ({"train": [[0, 1], [1, 1]]}, "classes", "several labels or none"),
        ({"train": [1.0, np.inf]}, "numbers", "infinite"),
    ],
)
def test_labels_that_do_not_fit_are_refused(parts: dict[str, list[Any]], task: str, says: str) -> None:
    arrays = {s: np.array(y, dtype=object if isinstance(y[0], str) else None) for s, y in parts.items()}
    with pytest.raises(UserError, match=says):
        targets_of(arrays, task, "label 'y'")
