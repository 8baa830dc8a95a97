"""MNIST: handwritten digits (LeCun, Cortes and Burges; http://yann.lecun.com/exdb/mnist/)."""

from pathlib import Path

from torch import Tensor

from frame.data.files import download, find, missing, roots
from frame.data.formats import broken, read_idx
from frame.data.memory import OfficialSplits


class MNIST(OfficialSplits):
    """60,000 training and 10,000 test pictures, 1 x 28 x 28, 10 classes; 'valid' is the last `n_valid` of training.

    Files lie where torchvision puts them, `<data_root>/MNIST/raw/`, plain or as .gz.

    Args:
        data_root: the folder of all data sets.
        download_files: download missing files into data_root.
        binarize: 'none', 'dynamic' or 'static', see `InMemory`.
        n_valid: rows of 'valid'; 0 trains on all 60,000.
        big_data_root: another folder of data sets, searched for files that data_root lacks.

    Raises:
        UserError: a value is out of range; from `load`, a file is missing or broken.
    """

    shape = (1, 28, 28)
    n_classes = 10
    n_train, n_test = 60_000, 10_000
    folder = "MNIST/raw"
    mirrors: tuple[str, ...] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    )
    hashes = {
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    }

    def __init__(
        self,
        data_root: str | Path,
        download_files: bool = False,
        binarize: str = "none",
        n_valid: int = 10_000,
        big_data_root: str | Path | None = None,
    ) -> None:
        super().__init__(binarize, n_valid)
        self.folders = [root / self.folder for root in roots(data_root, big_data_root)]
        self.download_files = download_files

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        part, n = ("train", self.n_train) if train else ("t10k", self.n_test)
        # both must be found before either is read
        images, labels = self._file(f"{part}-images-idx3-ubyte"), self._file(f"{part}-labels-idx1-ubyte")
        x = read_idx(images, (n, *self.shape[1:])).unsqueeze(1)
        y = read_idx(labels, (n,)).long()
        if y.max() >= self.n_classes:
            raise broken(labels, f"it has the label {int(y.max())}, and there are {self.n_classes} classes")
        return x, y

    def _file(self, name: str) -> Path:
        dotted = name.replace("-idx", ".idx")  # the name in some archives
        for folder in self.folders:
            found = find(folder, (name, f"{name}.gz", dotted, f"{dotted}.gz"))
            if found:
                return found
        if self.download_files:
            file = self.folders[0] / f"{name}.gz"
            return download(type(self).__name__, file, self.mirrors, self.hashes[f"{name}.gz"])
        raise missing(type(self).__name__, f"{name} (or .gz)", self.folders)
