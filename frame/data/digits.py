"""Handwritten digits, 8 x 8, from scikit-learn (Alpaydin and Kaynak 1998, UCI): needs no file and no network."""

from functools import cache

import numpy as np
import torch

from frame.data.base import DataSet, Source
from frame.data.memory import InMemory, check_binarize


@cache
def _pictures() -> tuple[np.ndarray, np.ndarray]:
    """All digits, [1797, 64] in 0..16, and their labels; read once for all splits."""
    from sklearn.datasets import load_digits  # imported here because it takes a second

    pixels, labels = load_digits(return_X_y=True)
    return pixels, labels


class Digits(DataSet):
    """1,797 pictures, 1 x 8 x 8, 10 classes: 1,297 train, 200 valid, 300 test, by one fixed permutation.

    The splits are not separated by writer: the same people wrote all three.

    Args:
        binarize: 'none', 'dynamic' or 'static', see `InMemory`.

    Raises:
        UserError: an unknown `binarize`.
    """

    shape = (1, 8, 8)
    n_classes = 10
    keys = ("x", "y")
    rows = {"train": slice(0, 1297), "valid": slice(1297, 1497), "test": slice(1497, 1797)}

    def __init__(self, binarize: str = "none") -> None:
        super().__init__()
        check_binarize(binarize)
        self.binarize = binarize

    def load(self, split: str) -> Source:
        pixels, labels = _pictures()
        # RandomState's stream does not change between versions of numpy
        rows = np.random.RandomState(0).permutation(len(pixels))[self.rows[split]]
        x = torch.from_numpy((pixels[rows] * (255 / 16)).round().astype(np.uint8)).view(-1, *self.shape)
        found = InMemory(x, torch.from_numpy(labels[rows]), binarize=self.binarize, seed=self.splits.index(split))
        if self.binarize == "none":
            found.levels = 17
        return found
