"""Data sets of Hugging Face: a folder that `save_to_disk` wrote, Parquet files, or a name on the hub."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import UserError, at_least, choices
from frame.common.output import say
from frame.data.base import DataSet, Source
from frame.data.duplicates import some_duplicates_told
from frame.data.environments import Environments, environments_of
from frame.data.files import places
from frame.data.identity import digest, listed
from frame.data.labels import labels_of
from frame.data.per_sample import PerSample
from frame.data.splits import SPLITS, Divided, Part, Splitting, divided, split_named
from frame.data.targets import Targets, check_task, targets_of

USUAL = {"image": "x", "img": "x", "x": "x", "label": "y", "labels": "y", "y": "y"}


class HuggingFace(DataSet):
    """Rows of a data set of Hugging Face's `datasets`, read one by one; pictures are decoded when they are read.

    The names of the classes are those of its ClassLabel. Its splits are taken by their names, 'validation' as 'valid'.
    No code of the data set is run.

    Args:
        path: a folder that `save_to_disk` wrote, a Parquet file, a folder of Parquet files, or a name on the hub.
        name: of a configuration on the hub.
        columns: from columns to keys of a batch, {image: x, label: y}; null takes columns of these names. Columns that
            are not named are left out.
        splits: from our splits to theirs, such as {valid: dev}; those that are not named are found by their names.
        size: pixels of a side: pictures are resized so that the shorter side has them, and the centre is cropped; None:
            as they are.
        channels: 3 for colour, 1 for grey; None: as they are.
        task: what 'y' is: 'classes', 'numbers', 'labels' (several a row), or 'auto'; lists of ClassLabels are labels.
        standardise: whether numbers to predict get mean 0 and variance 1 on 'train'.
        n_valid, n_test, seed, group, split_by, time, env: see `Splitting`; `group`, `time` and `env` are columns.
        data_root, big_data_root: folders that are searched for `path`.

    Raises:
        UserError: a value is out of range; from `split`, there is no such data set, no network, no such column or
            split, or rows do not fit, see `PerSample`.
    """

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        columns: Mapping[str, str] | None = None,
        splits: Mapping[str, str] | None = None,
        size: int | None = None,
        channels: int | None = None,
        task: str = "auto",
        standardise: bool = True,
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
        super().__init__()
        at_least(1, size=size)
        if channels not in (None, 1, 3):
            raise UserError(f"channels={channels} must be 1 (grey), 3 (colour), or null")
        for split in splits or ():
            if split not in SPLITS:
                raise UserError(choices(str(split), SPLITS, kind="split"))
        self.path, self.config, self.asked = str(path), name, dict(columns or {})
        check_task(task)
        self.named, self.size, self.channels = dict(splits or {}), size, channels
        self.task, self.standardise = task, standardise
        self._targets: Targets | None = None
        self._envs: Environments | None = None
        self.splitting = Splitting(n_valid, n_test, seed, group, split_by, time, env)
        self.folders = places(data_root, big_data_root)

    @property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self._found)

    @property
    def classes(self) -> Sequence[str] | None:
        source = self._found["train"]
        if self._targets is not None:
            return list(self._targets.names) if self._targets.kind == "classes" else None
        names = getattr((source.data.table.features or {}).get(source.data.label), "names", None)
        return list(names) if names else self._whole_numbers

    @property
    def targets(self) -> Targets | None:
        """How 'y' is coded, if it is no ClassLabel and no whole numbers, which stay as they are."""
        return self._found and self._targets or None

    @property
    def n_envs(self) -> int | None:
        found = self._found and self._envs
        return found.n_trained if found else super().n_envs

    @cached_property
    def _whole_numbers(self) -> list[str] | None:
        """Classes of a column of whole numbers from 0, without names; None if there is none."""
        labels = [source.labels() for source in self._found.values()]
        known = [y for y in labels if y is not None]
        if not known or any(y.dtype.kind not in "iu" for y in known):
            return None
        top = max(int(y.max()) for y in known)
        return [str(i) for i in range(top + 1)] if min(int(y.min()) for y in known) >= 0 and top < 10_000 else None

    def load(self, split: str) -> Source:
        if split != "train" and "train" in self._loaded:
            if near := some_duplicates_told({"train": self._found["train"], split: self._found[split]}):
                say(f"huggingface: {near}")
        return self._found[split]

    def identity(self, split: str) -> dict[str, Any]:
        source = self._found[split]
        labels = source.labels()
        found: dict[str, Any] = {"rows": len(source)}
        y = source.data.y
        if y is not None and labels is None:  # numbers, whose last bits may differ between machines, or labels
            return found | {"targets": digest(np.round(y[np.asarray(source.rows)].astype(np.float64), 4).tobytes())}
        return found if labels is None else found | {"labels": digest(np.ascontiguousarray(labels).tobytes())}

    @cached_property
    def _found(self) -> dict[str, PerSample]:
        tables = self._tables()
        columns = self._columns(tables["train"])
        rows = {
            split: Columns(table, columns, self.size, self.channels) for split, table in tables.items() if len(table)
        }
        values = {split: part.values(self.task) for split, part in rows.items()}
        labelled = {split: y for split, y in values.items() if y is not None}
        self._code(rows, labelled, labelled)
        try:
            parted = divided({split: self._part(part) for split, part in rows.items()}, self.splitting)
        except UserError as error:
            raise UserError(f"huggingface: {error}") from None
        taken = {split: labelled[part][some] for split, (part, some) in parted.rows.items() if part in labelled}
        self._code(rows, labelled, taken)  # numbers are standardised on what is left for 'train'
        self._code_environments(rows, parted)
        self.absent = {
            split: f"huggingface has no split '{split}': set data.n_{split} above 0, or data.splits"
            for split in SPLITS
            if split not in parted.rows
        }
        named = ", ".join(f"{theirs} as {ours}" for theirs, ours in columns.items())
        told = [
            named,
            *([f"'y': {self._targets.told}"] if self._targets else []),
            *([self._envs.told] if self._envs else []),
            *([parted.told] if parted.told else []),
        ]
        say(f"huggingface: {self.path}: {'; '.join(told)}")
        return {split: PerSample(rows[part], some) for split, (part, some) in parted.rows.items()}  # type: ignore[arg-type]

    def _code(
        self, rows: Mapping[str, "Columns"], labelled: Mapping[str, np.ndarray], taken: Mapping[str, np.ndarray]
    ) -> None:
        """Codes the labels of all rows, as those that were taken for each split ask for."""
        if not labelled:
            return
        if set(labelled) != set(rows):
            raise UserError(
                f"huggingface: {listed([s for s in rows if s not in labelled])} has other labels: give all alike"
            )
        names = rows["train"].names
        self._targets = targets_of(taken, self.task, "huggingface, 'y'", names, self.standardise)
        for split, part in rows.items():
            part.y = self._targets.coded(labelled[split])

    def _code_environments(self, rows: Mapping[str, "Columns"], parted: Divided) -> None:
        name = self.splitting.env
        if name is None:
            return
        columns = {split: np.asarray(part.whole[name]) for split, part in rows.items()}
        taken = {split: columns[part][some] for split, (part, some) in parted.rows.items()}
        self._envs = environments_of(taken, name, "huggingface")
        if self._envs is not None:
            for split, part in rows.items():
                part.env = self._envs.coded(columns[split])

    def _part(self, rows: "Columns") -> Part:
        how = self.splitting
        for name in how.columns:
            if name not in rows.whole.column_names:
                raise UserError(choices(name, rows.whole.column_names, kind="column"))
        read = {name: np.asarray(rows.whole[name]) for name in how.columns}
        groups, times, splits = (read[name] if name else None for name in (how.group, how.time, how.named_by))
        return Part(len(rows), labels_of(rows), groups, times, splits)

    def _tables(self) -> dict[str, Any]:
        """The tables of each of our splits."""
        loaded = self._loaded_tables()
        if not isinstance(loaded, Mapping):
            return {"train": loaded}
        wanted = {}
        for split, theirs in self.named.items():
            if theirs not in loaded:
                raise UserError(f"huggingface: {choices(str(theirs), map(str, loaded), kind='split')}")
            wanted[split] = loaded[theirs]
        taken = set(self.named.values())
        for theirs, table in loaded.items():
            known = split_named(str(theirs))
            if known is not None and known not in wanted and theirs not in taken:
                wanted[known] = table
        if "train" not in wanted and len(loaded) == 1:
            wanted["train"] = next(iter(loaded.values()))
        if "train" not in wanted:
            raise UserError(
                f"huggingface: {self.path} has the splits {listed(list(map(str, loaded)))}: name the one to train on "
                "by data.splits.train=..."
            )
        return wanted

    def _loaded_tables(self) -> Any:
        try:
            import datasets
        except ImportError:
            raise UserError("data=huggingface needs datasets: pip install 'frame[huggingface]'") from None
        given = Path(self.path).expanduser()
        place = next((folder / given for folder in self.folders if (folder / given).exists()), None)
        datasets.disable_progress_bars()
        try:
            if place is None:
                return self._from_hub(datasets)
            if place.is_file():
                return _parquet(datasets, {"train": [place]})["train"]
            if (place / "dataset_dict.json").exists() or (place / "dataset_info.json").exists():
                return datasets.load_from_disk(str(place))
            files = sorted(place.rglob("*.parquet"))
            if not files:
                raise UserError(
                    f"huggingface: {place} has no Parquet file and was not written by save_to_disk; it has: "
                    f"{listed(sorted(entry.name for entry in place.iterdir()), 8)}"
                )
            return _parquet(datasets, _by_split(files))
        except UserError:
            raise
        except Exception as error:  # of arrow, of fsspec, or of the hub
            raise UserError(f"huggingface: {self.path} cannot be read: {_first(error)}") from None

    def _from_hub(self, datasets: Any) -> Any:
        if self.path.startswith((".", "/", "~")) or self.path.endswith(".parquet") or self.path.count("/") > 1:
            there = " or ".join(dict.fromkeys(str(folder.resolve()) for folder in self.folders))
            raise UserError(f"huggingface: there is no {self.path} in {there}: set data.path to a folder or a file")
        try:
            return datasets.load_dataset(self.path, self.config)
        except Exception as error:  # requests, httpx, fsspec and the hub raise errors of their own
            off = datasets.config.HF_HUB_OFFLINE  # also for HF_DATASETS_OFFLINE; 0 is on
            why = "the hub is switched off (HF_HUB_OFFLINE)" if off else _first(error)
            raise UserError(
                f"huggingface: '{self.path}' is no folder or file here, and could not be fetched from the hub: {why}; "
                "fetch it where there is a network, save it by save_to_disk, and set data.path to that folder"
            ) from None

    def _columns(self, table: Any) -> dict[str, str]:
        """Their columns, by the keys of a batch that they become."""
        names = list(table.column_names)
        for name in self.asked:
            if name not in names:
                raise UserError(f"huggingface: {choices(str(name), names, kind='column')}")
        if self.asked:
            columns = {str(name): str(key) for name, key in self.asked.items()}
        else:
            columns = {}
            for name, key in USUAL.items():
                if name in names and key not in columns.values():
                    columns[name] = key
        if "x" not in columns.values():
            raise UserError(
                f"huggingface: no column is 'x'; the columns are {listed(names, 12)}: name them by "
                "data.columns='{image: x, label: y}'"
            )
        return columns


class Columns:
    """The rows of a table as mappings with the keys of a batch."""

    def __init__(self, table: Any, columns: Mapping[str, str], size: int | None, channels: int | None) -> None:
        self.table, self.whole = table.select_columns(list(columns)), table
        self.columns, self.size, self.channels = columns, size, channels
        self.label = next((theirs for theirs, ours in columns.items() if ours == "y"), None)
        self.y: np.ndarray | None = None  # labels of all rows, if they are coded here
        self.env: np.ndarray | None = None  # [N], environments of all rows

    @property
    def names(self) -> list[str] | None:
        """Of several labels a row, if these are lists of ClassLabels."""
        return getattr(getattr(self.table.features.get(self.label), "feature", None), "names", None)

    def values(self, task: str) -> np.ndarray | None:
        """The labels of all rows, [N] or [N, K]; None without any, and if they are whole numbers that count classes.

        Raises:
            UserError: a row has no label, or rows have lists of several lengths.
        """
        if self.label is None:
            return None
        whole = str(getattr(self.table.features[self.label], "dtype", "")).startswith(("int", "uint"))
        if whole and task in ("auto", "classes"):
            return None
        found = list(self.table[self.label])
        if missing := [i for i, value in enumerate(found) if value is None]:
            raise UserError(f"huggingface: {self.label!r} has no value in row {missing[0]}: leave such rows out")
        if self.names is not None:
            marked = np.zeros((len(found), len(self.names)), dtype=bool)
            for row, those in zip(marked, found, strict=True):
                row[list(those)] = True
            return marked
        if len({len(value) for value in found if isinstance(value, list)}) > 1:
            raise UserError(f"huggingface: {self.label!r} has lists of several lengths: give each row the same numbers")
        return np.array(found, dtype=object if isinstance(found[0], str) else None)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> dict[str, Any]:
        found = self.table[int(row)]
        item = {ours: self._converted(found[theirs]) for theirs, ours in self.columns.items()}
        coded = {"y": self.y, "env": self.env}
        return item | {key: column[int(row)] for key, column in coded.items() if column is not None}

    @property
    def targets(self) -> Any:
        """The labels of all rows, which are read without the rows."""
        if self.y is not None:
            return self.y
        return None if self.label is None else list(self.table[self.label])

    def _converted(self, value: Any) -> Any:
        if isinstance(value, list):
            return np.asarray(value)
        if not hasattr(value, "getbands") or (self.size is None and self.channels is None):
            return value
        from PIL import Image, ImageOps

        if self.channels is not None and value.mode[0] not in "IF":
            value = value.convert("L" if self.channels == 1 else "RGB")
        if self.size is not None:
            value = ImageOps.fit(value, (self.size, self.size), Image.Resampling.BICUBIC)
        return value


def _by_split(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Parquet files by their split: train-00000-of-00001.parquet, or test/0.parquet. Without names all are 'train'."""
    found: dict[str, list[Path]] = {}
    for file in files:
        names = [file.stem.partition("-")[0], file.parent.name]
        split = next((known for name in names if (known := split_named(name))), "train")
        found.setdefault(split, []).append(file)
    return found


def _parquet(datasets: Any, files: Mapping[str, Sequence[Path]]) -> Any:
    """Tables of Parquet files by their names. Nothing is copied into a cache."""
    import pyarrow.parquet as parquet

    def table(some: Sequence[Path]) -> Any:
        parts = [datasets.Dataset(datasets.table.InMemoryTable(parquet.read_table(file))) for file in some]
        return datasets.concatenate_datasets(parts) if len(parts) > 1 else parts[0]

    return {name: table(some) for name, some in files.items()}


def _first(error: Exception) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines()
    return lines[0][:150] if lines else type(error).__name__
