"""CIFAR-10: small colour pictures of ten kinds of things (Krizhevsky 2009)."""

import shutil
import tarfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.common.files import write_whole
from frame.data.files import download, missing, roots
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
    n_train = 50_000
    n_file = 10_000  # rows in each file
    folder = "cifar-10-batches-py"
    archive = "cifar-10-python.tar.gz"
    mirrors: tuple[str, ...] = ("https://www.cs.toronto.edu/~kriz/",)
    known_hash = "md5:c58f30108f718f92721af3b95e74349a"
    train_files = tuple(f"data_batch_{i}" for i in range(1, 6))
    test_files = ("test_batch",)

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

    def _folder(self, names: tuple[str, ...]) -> Path:
        """The first folder that has the files; else an archive is unpacked, and downloaded before if it is missing."""
        folders = [root / self.folder for root in self.roots]
        for folder in folders:
            if all((folder / name).is_file() for name in names):
                return folder
        archive = next((root / self.archive for root in self.roots if (root / self.archive).is_file()), None)
        if archive is None:
            if not self.download_files:
                absent = [name for name in names if not (folders[0] / name).is_file()]
                raise missing(type(self).__name__, absent[0], folders)
            archive = self.roots[0] / self.archive
            download(type(self).__name__, archive, self.mirrors, self.known_hash)
        self._unpack(archive)
        return archive.parent / self.folder

    def _read_file(self, path: Path) -> tuple[Tensor, Tensor]:
        content = read_pickle(path)
        if not isinstance(content, dict):
            raise broken(path, "it holds no mapping")
        # keys are bytes in the original, which Python 2 wrote
        named = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
        x, y = named.get("data"), named.get("labels")
        n_bytes = 3 * 32 * 32
        if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape != (self.n_file, n_bytes):
            raise broken(path, f"its 'data' is not an array of {self.n_file} x {n_bytes} bytes")
        if not isinstance(y, list) or len(y) != self.n_file or not all(type(i) is int and 0 <= i < 10 for i in y):
            raise broken(path, f"its 'labels' are not {self.n_file} numbers from 0 to 9")
        # a row is the red plane, then green, then blue
        return torch.from_numpy(x.copy()).view(-1, *self.shape), torch.tensor(y)

    def _unpack(self, archive: Path) -> None:
        # by name, file by file, so that the archive cannot choose paths
        target = archive.parent / self.folder
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tarfile.open(archive) as tar:
                for name in (*self.train_files, *self.test_files, "batches.meta"):
                    member = tar.extractfile(f"{self.folder}/{name}")
                    assert member is not None, f"{name} in it is not a file"
                    write_whole(target / name, partial(shutil.copyfileobj, member))
        except (tarfile.TarError, EOFError, zlib.error, KeyError, AssertionError) as error:
            raise broken(archive, str(error.args[0]) if error.args else "it ends early") from error
        except OSError as error:
            raise UserError(f"{archive} cannot be unpacked into {archive.parent}: {error}") from error
