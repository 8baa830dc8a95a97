"""STL-10: colour pictures of ten kinds of things, few of them labelled (Coates, Ng and Lee 2011)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError, choices
from frame.data.base import Source
from frame.data.files import roots, unpacked
from frame.data.formats import broken
from frame.data.memory import InMemory, OfficialSplits

PARTS = ("labelled", "unlabelled")


class STL10(OfficialSplits):
    """5,000 training and 8,000 test pictures, 3 x 96 x 96, 10 classes, and 100,000 pictures without labels.

    'valid' is the last `n_valid` rows of training, whose classes are mixed. Files lie where torchvision puts them,
    `<data_root>/stl10_binary/`; if only the archive `stl10_binary.tar.gz` is there, it is unpacked beside itself.

    Args:
        data_root: the folder of all data sets.
        download_files: download missing files (2.6 GB) into data_root.
        binarize: 'none', 'dynamic' or 'static', each channel by itself, see `InMemory`.
        n_valid: rows of 'valid'; 0 trains on all 5,000.
        part: 'labelled'; or 'unlabelled': 'train' is the 100,000 pictures (2.8 GB in memory), without 'y', and there is
            no other split.
        big_data_root: another folder of data sets, searched for files that data_root lacks.

    Raises:
        UserError: a value is out of range; from `load`, a file is missing or broken.
    """

    shape = (3, 96, 96)
    n_classes: int | None = 10
    classes: Sequence[str] | None = (
        "airplane",
        "bird",
        "car",
        "cat",
        "deer",
        "dog",
        "horse",
        "monkey",
        "ship",
        "truck",
    )
    n_train = 5_000
    n_test = 8_000
    n_unlabelled = 100_000
    folder = "stl10_binary"
    archive = "stl10_binary.tar.gz"
    mirrors: tuple[str, ...] = ("http://ai.stanford.edu/~acoates/stl10/",)
    known_hash = "md5:91f7769df0f17e558f3565bffb0c7dfb"
    files = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin")

    def __init__(
        self,
        data_root: str | Path,
        download_files: bool = False,
        binarize: str = "none",
        n_valid: int = 500,
        part: Literal["labelled", "unlabelled"] = "labelled",
        big_data_root: str | Path | None = None,
    ) -> None:
        super().__init__(binarize, n_valid)
        if part not in PARTS:
            raise UserError(choices(str(part), PARTS, kind="part of STL10"))
        self.roots, self.download_files, self.part = roots(data_root, big_data_root), download_files, part
        if part == "unlabelled":
            self.splits, self.keys = ("train",), ("x",)
            reason = "the unlabelled part of STL10 has no split '{}': set data.part=labelled"
            self.absent = {name: reason.format(name) for name in ("valid", "test")}
            self.n_classes = self.classes = None

    def load(self, split: str) -> Source:
        if self.part == "unlabelled":
            return InMemory(self._pictures("unlabeled_X.bin", self.n_unlabelled), binarize=self.binarize)
        return super().load(split)

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        name, n = ("train", self.n_train) if train else ("test", self.n_test)
        path = self._file(f"{name}_y.bin")
        y = self._bytes(path, n)
        if y.min() < 1 or y.max() > 10:
            raise broken(path, "it holds other numbers than 1 to 10")
        return self._pictures(f"{name}_X.bin", n), torch.from_numpy(y.astype(np.int64) - 1)

    def _pictures(self, name: str, n: int) -> Tensor:
        """The pictures of a file, [n, 3, 96, 96]. It holds each plane column by column."""
        planes = self._bytes(self._file(name), n * 3 * 96 * 96).reshape(n, *self.shape)
        x = torch.empty(n, *self.shape, dtype=torch.uint8)
        for start in range(0, n, 1000):  # the file is never in memory as a whole beside x
            x[start : start + 1000] = torch.from_numpy(planes[start : start + 1000].swapaxes(2, 3).copy())
        return x

    def _bytes(self, path: Path, n: int) -> np.ndarray:
        try:
            found = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise broken(path, str(error)) from error
        if len(found) != n:
            raise broken(path, f"it holds {len(found)} of {n} bytes")
        return found

    def _file(self, name: str) -> Path:
        rest = (self.files, self.archive, self.mirrors, self.known_hash, self.download_files)
        return unpacked("STL10", self.roots, self.folder, [name], *rest) / name
