"""Arrays of the user's own: npz, npy and safetensors files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import UserError, choices
from frame.data.array_files import chosen, read_arrays
from frame.data.from_files import FromFiles, Given, Rows
from frame.data.identity import listed
from frame.data.memory import check_binarize
from frame.data.on_disk import Stored, mean_and_scale
from frame.data.row_files import npy_rows
from frame.data.splits import SPLITS, Splitting, split_named
from frame.data.tensors import channels_last

X = ("x", "X", "data", "images", "features", "arr_0", "")  # usual names of rows
Y = ("y", "Y", "labels", "label", "target", "targets", "arr_1")
NAMES = ("classes", "class_names", "target_names", "label_names")


class Arrays(FromFiles):
    """Rows of any shape, as `InMemory` takes them: pictures as uint8, floats, whole numbers.

    A file may hold one split, or several as `x_train`, `y_train`, `x_test`, ... A split may also be given as a mapping
    of arrays to files, {x: pixels.npy, y: labels.npy}, or as a folder of such files, `x.npy` and `y.npy`, or
    `x_train.npy`, `x_test.npy`, ..., or with folders `train/`, `test/`, ...

    Args:
        train, valid, test: files, folders, or mappings of names to files; None: rows of 'train' are held out.
        x: the array of rows; None takes the only one, or one of a usual name, such as `x` or `data`.
        label: the array of labels [N] or [N, K]; None takes one of a usual name, such as `y` or `labels`, if there is
            one; 'none' takes none.
        task: 'classes', 'numbers', 'labels' (several a row), or 'auto'.
        standardise: whether floats get mean 0 and variance 1 on 'train', each column [N, D] by itself, and other shapes
            as a whole; numbers to predict, too.
        binarize: of pictures, see `InMemory`.
        n_valid, n_test, seed, group, split_by, time, env: see `Splitting`; `group`, `time` and `env` are arrays [N].
        data_root, big_data_root: folders that are searched for files.

    Raises:
        UserError: see `FromFiles`.
    """

    kind = "arrays"
    in_place = False

    def __init__(
        self,
        train: Given,
        valid: Given | None = None,
        test: Given | None = None,
        x: str | None = None,
        label: str | None = None,
        task: str = "auto",
        standardise: bool = False,
        binarize: str = "none",
        n_valid: float = 0.1,
        n_test: float = 0.1,
        seed: int = 0,
        group: str | None = None,
        split_by: str = "random",
        time: str | None = None,
        env: str | None = None,
        data_root: str | Path = ".",
        big_data_root: str | Path | None = None,
    ) -> None:
        splitting = Splitting(n_valid, n_test, seed, group, split_by, time, env)
        files = {"train": train, "valid": valid, "test": test}
        super().__init__(files, task, splitting, standardise, data_root, big_data_root)
        check_binarize(binarize)
        self.x, self.label, self.standardise, self.binarize = x, label, standardise, binarize

    @property
    def name(self) -> str:
        return "arrays"

    @property
    def label_named(self) -> str:
        return f"label '{self.label or 'y'}'"

    def read(self, split: str, given: Any) -> dict[str, Rows]:
        arrays = self._arrays(given)
        several = by_split(arrays)
        if split == "train" and "train" in several:
            return {name: self._rows(part, f"{given}, {name}") for name, part in several.items()}
        return {split: self._rows(arrays, str(given))}

    def _arrays(self, given: Any) -> dict[str, np.ndarray]:
        if isinstance(given, Mapping):
            return {str(name): self._one(self.place(file), str(name)) for name, file in given.items()}
        path = self.place(given)
        if not path.is_dir():
            return read_arrays(path, self.name, in_place=self.in_place)
        found = {}
        for file in array_files(path):
            inside = file.relative_to(path)
            ending = f"_{inside.parts[0]}" if len(inside.parts) > 1 else ""
            found[file.stem + ending] = self._one(file, file.stem)
        if not found:
            there = listed(sorted(entry.name for entry in path.iterdir()), 8)
            raise UserError(f"{self.name}: {path} has no .npy file; it has: {there}")
        return found

    def _one(self, file: Path, name: str) -> np.ndarray:
        """The array of a file that has one, or one of this name."""
        inside = read_arrays(file, self.name, in_place=self.in_place)
        if len(inside) > 1 and name not in inside:
            raise UserError(f"{self.name}: {file} has several arrays: {choices(name, inside, kind='array')}")
        return inside[name] if name in inside else next(iter(inside.values()))

    def _rows(self, arrays: dict[str, np.ndarray], where: str) -> Rows:
        x = chosen(arrays, self.x, X, f"{self.name}, {where}")
        if x is None and len(arrays) == 1:
            x = next(iter(arrays))
        if x is None:
            there = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
            raise UserError(f"{self.name}: {where} has several arrays, {there}: name the rows by data.x=...")
        y = None if self.label == "none" else chosen(arrays, self.label, Y, f"{self.name}, {where}")
        names = chosen(arrays, None, NAMES, where)
        rows, n = arrays[x], len(arrays[x]) if arrays[x].ndim else 0
        if rows.dtype.kind not in "biuf":
            raise UserError(f"{self.name}: '{x}' of {where} holds {rows.dtype} and no numbers: name the rows by data.x")
        if rows.ndim < 2:
            raise UserError(f"{self.name}: '{x}' of {where} has the shape {list(rows.shape)}: rows are [N, ...]")
        read = (*self.splitting.columns, "mask", "env") if self.in_place else arrays  # others stay where they are
        columns = {
            key: np.array(a) for key, a in arrays.items()
            if key not in (x, y, names) and key in read and a.ndim and len(a) == n
        }  # fmt: skip
        labels = None if y is None else squeezed(np.array(arrays[y]))
        classes = words(np.array(arrays[names])) if names else None
        if isinstance(rows, np.memmap):
            return Rows(
                Stored(npy_rows(rows, f"{self.name}: '{x}' of {where}"), where=f"{self.name}, '{x}' of {where}"),
                labels,
                columns,
                classes,
            )
        if rows.dtype == np.uint8 and channels_last(rows.shape[1:]):
            rows = np.ascontiguousarray(rows.transpose(0, 3, 1, 2))
        return Rows(rows, labels, columns, classes)

    def prepared(self, rows: dict[str, Rows]) -> dict[str, Rows]:
        return standardised(rows, self.name) if self.standardise else rows

    def described(self, rows: dict[str, Rows]) -> str:
        train = rows["train"].x
        return f"rows of {list(train.shape[1:])} as {train.dtype}{', read from the file' if self.in_place else ''}"


def standardised(rows: dict[str, Rows], name: str) -> dict[str, Rows]:
    """Floats with mean 0 and variance 1 on 'train': each column [N, D] by itself, other shapes as a whole.

    Raises:
        UserError: they are no floats.
    """
    train = rows["train"].x
    if train.dtype.kind != "f":
        raise UserError(f"{name}: standardise=true is for floats, and these are {train.dtype}")
    if isinstance(train, Stored):
        scaled_by = mean_and_scale(train)
        for part in rows.values():
            part.x.mean, part.x.scale = scaled_by
        return rows
    axes = 0 if train.ndim == 2 else None
    mean, scale = train.mean(axes, dtype=np.float64), train.std(axes, dtype=np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    for part in rows.values():
        part.x = ((part.x - mean) / scale).astype(np.float32)
    return rows


def array_files(folder: Path) -> list[Path]:
    """The npy files of a folder, and of folders in it that are called like splits, sorted."""
    inner = [entry for entry in folder.iterdir() if entry.is_dir() and split_named(entry.name)]
    return sorted(file for place in (folder, *inner) for file in place.glob("*.npy"))


def by_split(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays called `x_train` or `train_x`, `y_test` ..., by split and name. Those without a split go to none."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        first, _, rest = key.partition("_")
        front, _, final = key.rpartition("_")
        if rest and (split := split_named(first)):
            found.setdefault(split, {})[rest] = array
        elif front and (split := split_named(final)):
            found.setdefault(split, {})[front] = array
    shared = {key: array for key, array in arrays.items() if key in NAMES}
    return {split: {**found[split], **shared} for split in SPLITS if split in found}


def squeezed(y: np.ndarray) -> np.ndarray:
    """Labels [N] or [N, K]; [N, 1] becomes [N]."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def words(names: np.ndarray) -> list[str] | None:
    """Names of classes; None if they are no words."""
    return [str(name) for name in names.tolist()] if names.ndim == 1 and names.dtype.kind in "US" else None
