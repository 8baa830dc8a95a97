"""CIFAR-10: small colour pictures of ten kinds of things (Krizhevsky 2009)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frame.data.files import roots, unpacked
from frame.data.formats import broken, read_pickle
from frame.data.memory import OfficialSplits


class CIFAR10(OfficialSplits):
    """50,000 training and 10,000 test pictures, 3 x 32 x 32, 10 classes; 'valid' is the last `n_valid` of training.

    Files lie where torchvision puts them, `<data_root>/cifar-10-batches-py/`; if only the archive
    `cifar-10-python.tar.gz` is there, it is unpacked beside itself.

    Args:
        data_root: the folder of all data sets.
        download_files: download missing files into data_root.
        binarize: 'none', 'dynamic' or 'static', each channel by itself, see `InMemory`.
        n_valid: rows of 'valid'; 0 trains on all 50,000.
        big_data_root: another folder of data sets, searched for files that data_root lacks.

    Raises:
        UserError: a value is out of range; from `load`, a file is missing or broken.
    """

    shape = (3, 32, 32)
    n_classes = 10
    classes: Sequence[str] | None = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    n_train = 50_000
    n_file = 10_000  # rows in each file
    folder = "cifar-10-batches-py"
    archive = "cifar-10-python.tar.gz"
    mirrors: tuple[str, ...] = ("https://www.cs.toronto.edu/~kriz/",)
    known_hash = "md5:c58f30108f718f92721af3b95e74349a"
    train_files = tuple(f"data_batch_{i}" for i in range(1, 6))
    test_files = ("test_batch",)
    other_files = ("batches.meta",)
    labels = "labels"  # their key in a file

    def __init__(
        self,
        data_root: str | Path,
        download_files: bool = False,
        binarize: str = "none",
        n_valid: int = 5_000,
        big_data_root: str | Path | None = None,
    ) -> None:
        super().__init__(binarize, n_valid)
        self.roots, self.download_files = roots(data_root, big_data_root), download_files

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        names = self.train_files if train else self.test_files
        folder = self._folder(names)
        parts = [self._read_file(folder / name) for name in names]
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])

    def n_rows(self, name: str) -> int:
        """Rows of a file."""
        return self.n_file

    def _folder(self, names: tuple[str, ...]) -> Path:
        """The first folder that has the files."""
        every = (*self.train_files, *self.test_files, *self.other_files)
        rest = (every, self.archive, self.mirrors, self.known_hash, self.download_files)
        return unpacked(type(self).__name__, self.roots, self.folder, names, *rest)

    def _read_file(self, path: Path) -> tuple[Tensor, Tensor]:
        content = read_pickle(path)
        if not isinstance(content, dict):
            raise broken(path, "it holds no mapping")
        # keys are bytes in the original, which Python 2 wrote
        named = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
        x, y = named.get("data"), named.get(self.labels)
        n, n_bytes = self.n_rows(path.name), 3 * 32 * 32
        if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape != (n, n_bytes):
            raise broken(path, f"its 'data' is not an array of {n} x {n_bytes} bytes")
        last = self.n_classes - 1
        if not isinstance(y, list) or len(y) != n or not all(type(i) is int and 0 <= i <= last for i in y):
            raise broken(path, f"its '{self.labels}' are not {n} numbers from 0 to {last}")
        # a row is the red plane, then green, then blue
        return torch.from_numpy(x.copy()).view(-1, *self.shape), torch.tensor(y)
