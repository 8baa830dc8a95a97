"""What data sets of the user's own files share: finding files, splitting, coding labels, and telling about it."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frame.common.errors import UserError, choices
from frame.common.output import say
from frame.data.base import DataSet, Source
from frame.data.duplicates import MOST_HELD, MOST_TRAIN, duplicates_told
from frame.data.environments import Environments, environments_of
from frame.data.files import places
from frame.data.identity import digest, fingerprint, listed, spread
from frame.data.labels import missing
from frame.data.memory import InMemory
from frame.data.on_disk import OnDisk, Stored
from frame.data.splits import SPLITS, Divided, Part, Splitting, divided
from frame.data.targets import Targets, check_task, targets_of

LOOKED_AT = 8 << 20  # bytes of a split outside of the memory that are looked at for duplicates

Given = str | Path | Mapping[str, str | Path]  # a file, or files by the names of the arrays that they hold


@dataclass
class Rows:
    """What a reader found in a file. `x` may be an array [N, ...] or a table of pandas."""

    x: Any
    y: np.ndarray | None = None  # [N] or [N, K]
    columns: dict[str, np.ndarray] = field(default_factory=dict)  # [N, ...]: groups, times, masks
    names: Sequence[str] | None = None  # of classes or labels

    def take(self, rows: np.ndarray) -> "Rows":
        x = self.x.iloc[rows] if hasattr(self.x, "iloc") else self.x[rows]
        return replace(
            self,
            x=x,
            y=None if self.y is None else self.y[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
        )


class FromFiles(DataSet):
    """Splits read from files into memory. A subclass defines `read`, and `prepared` if rows change after splitting.

    Args:
        files: the file of 'train', and of 'valid' and 'test', or None; without them rows of 'train' are held out.
        task: what 'y' is, see `targets_of`.
        splitting: how rows are held out.
        standardise_targets: whether numbers to predict get mean 0 and variance 1 on 'train'.
        data_root, big_data_root: folders that are searched for files that are not where the command was given.

    Raises:
        UserError: a value is unknown; from `split`, a file is missing or broken, or rows do not fit. One line says what
            to do.
    """

    kind = "rows"  # of x, in what a run says
    binarize = "none"

    def __init__(
        self,
        files: Mapping[str, Given | None],
        task: str,
        splitting: Splitting,
        standardise_targets: bool,
        data_root: str | Path,
        big_data_root: str | Path | None,
    ) -> None:
        super().__init__()
        check_task(task)
        self.files = {split: file for split, file in files.items() if file is not None}
        self.task, self.splitting, self.standardise_targets = task, splitting, standardise_targets
        self.folders = places(data_root, big_data_root)
        self._envs: Environments | None = None

    def read(self, split: str, given: Any) -> dict[str, Rows]:
        """The rows of a file, under the name of its split; of several splits if the file has them."""
        raise NotImplementedError

    def prepared(self, rows: dict[str, Rows]) -> dict[str, Rows]:
        """The rows of each split as they are kept, after splitting."""
        return rows

    def described(self, rows: dict[str, Rows]) -> str:
        """What the rows are, in a few words."""
        return self.kind

    @property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self._found)

    @property
    def classes(self) -> Sequence[str] | None:
        """The classes' names, in the order of 'y'; None if 'y' holds something else."""
        targets = self._found and self._targets
        return list(targets.names) if targets and targets.kind == "classes" else None

    @property
    def targets(self) -> Targets | None:
        """How 'y' is coded; None without 'y'."""
        return self._found and self._targets or None

    @property
    def name(self) -> str:
        """The data set in messages."""
        return type(self).__name__

    def place(self, file: str | Path) -> Path:
        """The file, below the working directory or a folder of data."""
        return found_file(file, self.folders, self.name)

    @cached_property
    def _found(self) -> dict[str, Rows]:
        """The rows of each split, as they are kept."""
        read: dict[str, Rows] = {}
        for split, given in self.files.items():
            for name, rows in self.read(split, given).items():
                if name in read:
                    raise UserError(f"{self.name}: the file of 'train' has the split '{name}', too: give it once")
                read[name] = rows
        self._check_alike(read)
        unlabelled = {split: self._labelled(split, rows) for split, rows in read.items()}
        read = {split: rows for split, (rows, _) in unlabelled.items()}
        targets = self._targets_of(read)
        try:
            parted = divided({split: self._part(rows, targets) for split, rows in read.items()}, self.splitting)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        taken = {split: read[part].take(rows) for split, (part, rows) in parted.rows.items()}
        self.absent = {split: self.lacking(split) for split in SPLITS if split not in taken}
        self._targets = self._targets_of(taken)
        self._code_environments(taken)
        taken = self.prepared(taken)
        self._tell(taken, parted, sum(n for _, n in unlabelled.values()))
        return taken

    def _code_environments(self, rows: Mapping[str, Rows]) -> None:
        """Makes 'env' of each split numbers, of the column that `env` names, or of an array called 'env'."""
        name = self.splitting.env or "env"
        columns = {split: part.columns[name] for split, part in rows.items() if name in part.columns}
        self._envs = environments_of(columns, name, self.name)
        if self._envs is not None:
            for split, column in columns.items():
                rows[split].columns["env"] = self._envs.coded(column)

    def lacking(self, split: str) -> str:
        """The error of a split that is neither given nor held out."""
        return f"{self.name} has no split '{split}': set data.n_{split} above 0, or give data.{split} a file"

    def _targets_of(self, rows: Mapping[str, Rows]) -> Targets | None:
        """How labels are coded, with those of all splits known."""
        labels = {split: part.y for split, part in rows.items() if part.y is not None}
        if not labels or "train" not in rows:
            return None
        lacks = [split for split in rows if split not in labels]
        if lacks:
            raise UserError(f"{self.name}: {listed(lacks)} has no labels, and {listed(list(labels))} has: give both")
        names = next(iter(rows.values())).names
        return targets_of(labels, self.task, f"{self.name}, {self.label_named}", names, self.standardise_targets)

    @property
    def label_named(self) -> str:
        """The label in messages."""
        return "'y'"

    def _part(self, rows: Rows, targets: Targets | None) -> Part:
        classes = rows.y if rows.y is not None and targets is not None and targets.kind == "classes" else None
        if classes is not None and classes.ndim == 2:
            classes = classes.argmax(1)
        how = self.splitting
        groups = rows.columns[how.group] if how.group else None
        times, splits = (rows.columns[name] if name else None for name in (how.time, how.named_by))
        return Part(len(rows.x), classes, groups, times, splits)

    def _check_alike(self, read: Mapping[str, Rows]) -> None:
        """Raises UserError if a split has no rows, or other shapes than 'train', or lacks a column of the splitting."""
        for split, rows in read.items():
            if len(rows.x) == 0:
                raise UserError(f"{self.name}: '{split}' has no rows")
            if rows.y is not None and len(rows.y) != len(rows.x):
                raise UserError(f"{self.name}: '{split}' has {len(rows.x)} rows and {len(rows.y)} labels")
            for name in self.splitting.columns:
                if name not in rows.columns:
                    raise UserError(f"{self.name}, '{split}': {choices(name, rows.columns, kind='column')}")
                if (gone := missing(rows.columns[name])).any():
                    row = int(gone.argmax())
                    raise UserError(f"{self.name}, '{split}': '{name}' has no value in row {row}: fill it in")
            train = read.get("train", rows)
            if not hasattr(rows.x, "iloc") and rows.x.shape[1:] != train.x.shape[1:]:
                raise UserError(
                    f"{self.name}: rows of '{split}' have the shape {list(rows.x.shape[1:])}, and those of 'train' "
                    f"{list(train.x.shape[1:])}: give them the same"
                )

    def _labelled(self, split: str, rows: Rows) -> tuple[Rows, int]:
        """The rows that have a label, and the number of others."""
        if rows.y is None:
            return rows, 0
        if self.task == "labels" and rows.y.ndim == 1 and rows.y.dtype.kind in "OU":
            return rows, 0  # a row may have none of the labels
        gone = np.asarray(missing(rows.y).reshape(len(rows.y), -1).any(1))
        n = int(gone.sum())
        if n == len(gone):
            raise UserError(f"{self.name}, '{split}': no row has a label in {self.label_named}")
        return (rows.take(np.flatnonzero(~gone)), n) if n else (rows, 0)

    def _tell(self, rows: dict[str, Rows], parted: Divided, n_unlabelled: int) -> None:
        told = [self.described(rows)]
        if self._targets is not None:
            told.append(f"{self.label_named}: {self._targets.told}")
        if self._envs is not None:
            told.append(self._envs.told)
        if n_unlabelled:
            told.append(f"{n_unlabelled} rows without a label left out")
        if parted.told:
            told.append(parted.told)
        told += self._lacking_classes(rows, parted)
        say(f"{self.name}: {'; '.join(told)}")
        if len(rows) > 1:
            which = " that were compared" if any(isinstance(part.x, Stored) for part in rows.values()) else ""
            if near := duplicates_told({split: looked_at(split, part.x) for split, part in rows.items()}, which):
                say(f"{self.name}: {near}")

    def _lacking_classes(self, rows: Mapping[str, Rows], parted: Divided) -> list[str]:
        """Which classes of 'train' are in none of the rows that were held out."""
        targets = self._targets
        if targets is None or targets.kind != "classes":
            return []
        has = {split: set(targets.coded(part.y).tolist()) for split, part in rows.items() if part.y is not None}
        lacks = {
            split: [targets.names[i] for i in sorted(has["train"] - has[split])]
            for split, (part, _) in parted.rows.items()
            if part != split
        }
        return [f"'{split}' lacks {listed(names, 3)} ({len(names)} classes)" for split, names in lacks.items() if names]

    def load(self, split: str) -> Source:
        rows = self._found[split]
        return self.labelled(rows.x, rows, split)

    def labelled(self, x: Any, rows: Rows, split: str) -> InMemory | OnDisk:
        """A split of rows `x`, in memory unless they are `Stored`, with the labels and masks of `rows`."""
        targets = self._targets
        extra: dict[str, Any] = {name: column for name, column in rows.columns.items() if name in ("mask", "env")}
        try:
            y = None if targets is None or rows.y is None else targets.coded(rows.y)
            classes = y if targets is not None and targets.kind == "classes" else None
            found: InMemory | OnDisk
            if isinstance(x, Stored):
                found = OnDisk(x, classes, binarize=self.binarize, **extra)
            else:
                found = InMemory(x, classes, binarize=self.binarize, seed=SPLITS.index(split), **extra)
        except UserError as error:
            raise UserError(f"{self.name}, '{split}': {error}") from None
        if y is not None and classes is None:  # InMemory's `y` are classes
            found.columns["y"] = torch.from_numpy(y)
        return found

    def identity(self, split: str) -> dict[str, Any]:
        found = super().identity(split)
        x, y = self._found[split].x, self._found[split].y
        if isinstance(x, Stored) and x.reader.cheap:
            found |= fingerprint(x.read(spread(len(x))))
        if self._targets is not None and self._targets.kind != "classes" and y is not None:
            found["targets"] = digest(np.ascontiguousarray(y, dtype=np.float64).tobytes())
        return found


def looked_at(split: str, x: Any) -> np.ndarray:
    """The rows of a split that are looked at for duplicates: all in memory, or the first of others."""
    if isinstance(x, Stored):
        return x.few(MOST_TRAIN if split == "train" else MOST_HELD, LOOKED_AT)
    return x if isinstance(x, np.ndarray) else np.asarray(x)


def found_file(file: str | Path, folders: Sequence[Path], name: str) -> Path:
    """The file or folder, below the first of the folders that has it; an absolute path is taken as it is.

    Raises:
        UserError: there is none. Names what lies beside it.
    """
    path = Path(file).expanduser()
    for folder in folders:
        if (folder / path).exists():
            return folder / path
    places = dict.fromkeys((folder / path).parent.resolve() for folder in folders)
    there = {place: _alike(place, path.suffix) for place in places if place.is_dir()}
    near = difflib.get_close_matches(path.name, [name for names in there.values() for name in names], n=1, cutoff=0.6)
    has = "; ".join(f"{place} has {listed(names, 8)}" for place, names in there.items() if names)
    hint = f": did you mean {near[0]!r}?" if near else "."
    raise UserError(f"{name}: there is no {path} in {' or '.join(map(str, places))}{hint} {has or 'They have none'}")


def _alike(folder: Path, suffix: str) -> list[str]:
    """The names in a folder that have this ending, or that are folders if there is none."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    return [entry.name for entry in entries if entry.suffix.lower() == suffix.lower()]
