"""Tables of the user's own that are larger than the memory: Arrow, Feather and what `datasets` keeps; and Parquet."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import UserError, choices
from frame.common.memory import AUTO, bytes_of, shown
from frame.common.output import say
from frame.data.arrays import X, Y, squeezed, standardised
from frame.data.arrow_files import SUFFIXES, Columns, Encoded, Groups, is_encoded, is_list
from frame.data.from_files import FromFiles, Rows
from frame.data.identity import listed
from frame.data.images import Pictures, check_channels, kept_in_memory, sides_of
from frame.data.memory import check_binarize
from frame.data.on_disk import Stored
from frame.data.splits import SPLITS, Splitting, split_named

PICTURES = ("image", "img", "pixels", "pixel_values")  # usual names of rows, beside those of arrays


class Arrow(FromFiles):
    """Rows of a column of Arrow files (IPC, Feather, `save_to_disk` of Hugging Face's `datasets`) or of Parquet.

    A row is a list of numbers of equal length, nested or not (a picture [H, W, C]), or an encoded picture, which is
    decoded whenever a batch asks for it.

    Rows of Arrow that is not compressed stay in the file: nothing is copied, and a batch reads its rows and no others.
    **Those of Parquet, and of compressed Arrow (the default of Feather), do not**, because they are encoded: they are
    kept in memory if they take no more than `memory` once they are decoded. Otherwise a row costs its whole group, of
    which the last ones are kept, so that reading in random order is slow; a line says how to write the file as Arrow.

    Args:
        train, valid, test: files, or folders of them; None: rows of 'train' are held out. A folder may hold all splits,
            as `train-00000-of-00002.arrow`, `test.parquet`, or in folders `train/`, `test/`.
        x: the column of rows; None takes one of a usual name, such as `x`, `data` or `image`, or the only one.
        label: the column of labels; None takes one of a usual name, such as `y` or `label`; 'none' takes none.
        task, standardise, binarize: as for `Arrays`; binarize='static' needs rows in memory.
        size: of encoded pictures: pixels of a side, or [height, width]: the picture is resized until it covers this,
            and the centre is cropped.
        channels: of encoded pictures: 3 for colour, 1 for grey, 4 for colour and transparency.
        n_valid, n_test, seed, group, split_by, time, env: see `Splitting`; `group`, `time` and `env` are columns.
        data_root, big_data_root: folders that are searched for files.
        memory: of what is decoded, see above: '8 GB', or 'auto', half of the memory.

    Raises:
        UserError: see `FromFiles`; also if a column has missing values, or lists of different lengths.
    """

    kind = "arrow"

    def __init__(
        self,
        train: str | Path,
        valid: str | Path | None = None,
        test: str | Path | None = None,
        x: str | None = None,
        label: str | None = None,
        task: str = "auto",
        standardise: bool = False,
        binarize: str = "none",
        size: int | Sequence[int] = 64,
        channels: int = 3,
        n_valid: float = 0.1,
        n_test: float = 0.1,
        seed: int = 0,
        group: str | None = None,
        split_by: str = "random",
        time: str | None = None,
        env: str | None = None,
        data_root: str | Path = ".",
        big_data_root: str | Path | None = None,
        memory: str | float = AUTO,
    ) -> None:
        splitting = Splitting(n_valid, n_test, seed, group, split_by, time, env)
        files = {"train": train, "valid": valid, "test": test}
        super().__init__(files, task, splitting, standardise, data_root, big_data_root)
        check_binarize(binarize)
        sides = sides_of(size, self.name)
        check_channels(channels, self.name)
        self.x, self.label, self.standardise, self.binarize = x, label, standardise, binarize
        self.picture = (channels, *sides)
        self.memory = bytes_of(memory, "device.memory_for_data")
        self._how = ""

    @property
    def name(self) -> str:
        return "arrow"

    @property
    def label_named(self) -> str:
        return f"label '{self.label or 'y'}'"

    def read(self, split: str, given: Any) -> dict[str, Rows]:
        place = self.place(given)
        files = table_files(place) if place.is_dir() else {"train": [place]}
        if split != "train" or "train" not in files:
            files = {split: [file for some in files.values() for file in some]}
        for some in files.values():
            for file in some:
                if file.suffix.lower() not in SUFFIXES:
                    raise UserError(f"arrow: {file} is no file of Arrow or Parquet: give one of {', '.join(SUFFIXES)}")
        return {name: self._rows(Columns(some), f"arrow, {place}") for name, some in files.items()}

    def _rows(self, columns: Columns, where: str) -> Rows:
        names = columns.names
        if not len(columns):
            raise UserError(f"{where} has no rows")
        x = self._chosen(columns, self.x, (*X, *PICTURES), where)
        fitting = [name for name in names if is_list(columns.type_of(name)) or is_encoded(columns.type_of(name))]
        if x is None and len(fitting) == 1:
            x = fitting[0]
        if x is None:
            raise UserError(f"{where}: name the column of rows by data.x=...; the columns are {listed(names, 12)}")
        if x not in fitting:
            raise UserError(
                f"{where}: '{x}' is {columns.type_of(x)}, and rows are lists of numbers or encoded pictures; for "
                "single numbers in columns set data=table"
            )
        y = None if self.label == "none" else self._chosen(columns, self.label, Y, where)
        wanted = [*self.splitting.columns, *(name for name in ("mask", "env") if name in names)]
        read = {name: columns.values(name) for name in dict.fromkeys(wanted) if name in names}
        labels = None if y is None else squeezed(columns.values(y))
        return Rows(self._stored(columns, x, where), labels, read, columns.class_names(y) if y else None)

    def _chosen(self, columns: Columns, asked: str | None, usual: Sequence[str], where: str) -> str | None:
        if asked is not None and asked not in columns.names:
            raise UserError(f"{where}: {choices(asked, columns.names, kind='column')}")
        return asked or next((name for name in usual if name in columns.names), None)

    def _stored(self, columns: Columns, x: str, where: str) -> Any:
        """The rows: in their files, decoded when they are read, or in memory."""
        where = f"{where}, '{x}'"
        if is_encoded(columns.type_of(x)):
            pictures = Pictures(where, None, Encoded(columns, x, self.memory), self.picture, False, None)
            if kept_in_memory(where, len(columns) * math.prod(self.picture), self.memory):
                return pictures.all().numpy()
            return Stored(pictures, where=where)
        in_place = columns.in_place(x)
        if in_place is not None:
            self._how = ", read from the file"
            return Stored(in_place, where=where)
        groups = Groups(columns, x, self.memory)
        if groups.n_bytes <= self.memory:
            self._how = ", decoded into memory"
            return groups.read(np.arange(len(groups)))
        say(
            f"{where}: {shown(groups.n_bytes)} of encoded rows are more than device.memory_for_data "
            f"({shown(self.memory)}) and stay encoded: each row costs its whole group, which is slow in random "
            "order; write the table once by pyarrow.feather.write_feather(table, 'x.arrow', "
            "compression='uncompressed'), of which single rows are read"
        )
        self._how = ", decoded group by group"
        return Stored(groups, where=where)

    def prepared(self, rows: dict[str, Rows]) -> dict[str, Rows]:
        return standardised(rows, self.name) if self.standardise else rows

    def described(self, rows: dict[str, Rows]) -> str:
        train = rows["train"].x
        return f"rows of {list(train.shape[1:])} as {train.dtype}{self._how}"


def table_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split of a folder, sorted; without names of splits all are 'train'.

    Raises:
        UserError: there are none.
    """
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        # `datasets` keeps results of map() beside the data
        if file.suffix.lower() not in SUFFIXES or file.name.startswith((".", "cache-")) or not file.is_file():
            continue
        words = [*re.split(r"[-_.]", file.stem), *reversed(file.relative_to(folder).parts[:-1])]
        split = next((known for word in words if (known := split_named(word))), "train")
        found.setdefault(split, []).append(file)
    if not found:
        there = listed(sorted(entry.name for entry in folder.iterdir()), 8)
        raise UserError(f"arrow: {folder} has no file of Arrow or Parquet ({', '.join(SUFFIXES)}); it has: {there}")
    return {split: found[split] for split in SPLITS if split in found}
