"""Rows that lie in two splits are counted, equal ones and nearly equal ones."""

import numpy as np

from frame.data.duplicates import duplicates, duplicates_told


def slowly(train: np.ndarray, held: np.ndarray) -> tuple[int, int]:
    """The counts by all distances."""
    a, b = train.reshape(len(train), -1).astype(float), held.reshape(len(held), -1).astype(float)
    away = np.square(b[:, None] - a[None]).sum(2).min(1)
    equal = away == 0
    return int(equal.sum()), int(((away < 0.02**2 * 2 * a.var(0).sum()) & ~equal).sum())


def test_equal_and_nearly_equal_rows_are_those_of_all_distances() -> None:
    random = np.random.RandomState(0)
    for shape in ((10,), (3, 16, 16), (1, 200)):
        train = random.randn(300, *shape).astype(np.float32)
        held = random.randn(50, *shape).astype(np.float32)
        held[:4] = train[10:14]
        held[4:7] = train[20:23] + 0.005 * random.randn(3, *shape).astype(np.float32)
        assert duplicates(train, held) == (*slowly(train, held), 50) == (4, 3, 50)


def test_pictures_with_a_little_noise_are_found() -> None:
    random = np.random.RandomState(0)
    train = random.randint(0, 256, (200, 1, 12, 12)).astype(np.uint8)
    held = random.randint(0, 256, (20, 1, 12, 12)).astype(np.uint8)
    held[0] = np.clip(train[3].astype(int) + 1, 0, 255)
    told = duplicates_told({"train": train, "valid": held, "test": held[1:]})
    assert told.startswith("0 of 20 rows of 'valid' are equal to one of 'train', and 1 nearly so: ")
    assert duplicates_told({"train": train, "test": held[1:]}) == ""


def test_rows_that_do_not_vary_or_are_of_another_type_are_not_compared() -> None:
    assert duplicates(np.zeros((5, 4)), np.ones((3, 4))) == (0, 0, 3)
    assert duplicates(np.zeros((5, 4)), np.zeros((3, 4), dtype=np.float32)) == (0, 0, 3)
