"""CIFAR-100: small colour pictures of a hundred kinds of things (Krizhevsky 2009)."""

from pathlib import Path
from typing import Literal

from frame.common.errors import UserError, choices
from frame.data.CIFAR10 import CIFAR10

LABELS = {"fine": 100, "coarse": 20}


class CIFAR100(CIFAR10):
    """50,000 training and 10,000 test pictures, 3 x 32 x 32, 100 classes in 20 superclasses; 'valid' as in `CIFAR10`.

    Files lie where torchvision puts them, `<data_root>/cifar-100-python/`; if only the archive
    `cifar-100-python.tar.gz` is there, it is unpacked beside itself.

    Args:
        data_root, download_files, binarize, n_valid, big_data_root: as in `CIFAR10`.
        labels: 'fine', the 100 classes, or 'coarse', the 20 superclasses.

    Raises:
        UserError: a value is out of range; from `load`, a file is missing or broken.
    """

    n_classes = 100
    classes = None
    n_file = 50_000  # rows of the training file
    n_test = 10_000
    folder = "cifar-100-python"
    archive = "cifar-100-python.tar.gz"
    known_hash = "md5:eb9058c3a382ffc7106e4002c42a8d85"
    train_files = ("train",)
    test_files = ("test",)
    other_files = ("meta",)

    def __init__(
        self,
        data_root: str | Path,
        download_files: bool = False,
        binarize: str = "none",
        n_valid: int = 5_000,
        big_data_root: str | Path | None = None,
        labels: Literal["fine", "coarse"] = "fine",
    ) -> None:
        super().__init__(data_root, download_files, binarize, n_valid, big_data_root)
        if labels not in LABELS:
            raise UserError(choices(str(labels), LABELS, kind="labels"))
        self.labels, self.n_classes = f"{labels}_labels", LABELS[labels]

    def n_rows(self, name: str) -> int:
        return self.n_file if name in self.train_files else self.n_test
