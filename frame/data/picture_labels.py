"""Finds the picture of each row of a table of labels."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import UserError, choices
from frame.data.folders import SUFFIXES, folder_name
from frame.data.identity import listed
from frame.data.splits import Splitting, names_splits

FILES = ("file", "filename", "file_name", "filepath", "file_path", "path", "image", "image_path", "image_id", "img",
         "picture", "id", "name")  # usual names of the column, in any case  # fmt: skip


@dataclass
class PictureRows:
    """What a table says about pictures, in the order of its rows."""

    pictures: np.ndarray  # [N], positions among the pictures
    y: np.ndarray  # [N] or [N, K]
    columns: dict[str, np.ndarray]  # [N] each: groups and times
    label: list[str]  # the columns of y
    names: list[str] | None  # of several columns
    notes: list[str]  # what was left out


def picture_rows(
    table: Path, pictures: Sequence[Path], root: Path, file: str | None, label: list[str] | None, how: Splitting
) -> PictureRows:
    """The rows of a table that have a picture. Rows without one, and pictures without a row, are noted.

    Args:
        table: a CSV, TSV or Parquet file.
        pictures: paths below `root`.
        root: the folder of pictures.
        file: the column with their names, see `Images`; None finds it.
        label: the columns of 'y'; None takes all others.
        how: names the columns of groups and times.

    Raises:
        UserError: the table cannot be read, a column is not there, a name stands for several pictures, a picture has
            several rows, or no row has a picture.
    """
    from frame.data.table import column_of, label_values, read_table, sortable

    frame = read_table(table)
    file = _file_column(frame, file, table)
    if not _holds_words(frame[file]):
        frame = read_table(table, words=file)  # 007 is a name
    apart = [name for name in how.columns if name in frame or name != "folder"]
    for name in [*apart, *(label or ())]:
        column_of(frame, name, f"Images, {table}")
    if label is None:
        label = [str(name) for name in frame if name not in (file, *apart)]
        for name in label:
            if names_splits(frame[name]):
                raise UserError(
                    f"Images: the column {name!r} of {table} names splits: set data.split_by={name}, or name the "
                    "labels by data.label"
                )
    if not label:
        raise UserError(f"Images: {table} has no column to predict beside {file!r}")
    places = _places(frame[file], pictures, root, table)
    kept = np.flatnonzero(places >= 0)
    notes = []
    if lost := [str(frame[file].iloc[i]) for i in np.flatnonzero(places < 0)]:
        notes.append(f"{len(lost)} rows of {table.name} without a picture left out ({listed(lost, 3)})")
    found = set(places.tolist())
    if others := [folder_name(path) for i, path in enumerate(pictures) if i not in found]:
        notes.append(f"{len(others)} pictures without a row in {table.name} left out ({listed(others, 3)})")
    frame = frame.iloc[kept]
    columns = {name: sortable(frame[name]) if name == how.time else frame[name] for name in apart}
    y = label_values(frame, label, f"Images, {table}")
    names = label if len(label) > 1 else None
    return PictureRows(places[kept], y, {name: c.to_numpy() for name, c in columns.items()}, label, names, notes)


def _holds_words(column: Any) -> bool:
    return bool(column.map(lambda value: isinstance(value, str)).any())


def _file_column(frame: Any, file: str | None, table: Path) -> str:
    if file is not None:
        if file not in frame:
            raise UserError(f"Images, {table}: {choices(file, map(str, frame), kind='column')}")
        return file
    by_name = {str(name).lower(): str(name) for name in reversed(list(frame))}
    words = [str(name) for name in frame if _holds_words(frame[name])]
    ending = [name for name in words if Path(str(frame[name].iloc[0])).suffix.lower() in SUFFIXES]
    usual = [by_name[name] for name in FILES if name in by_name]
    chosen = next(iter([*ending, *usual, *words]), None)
    if chosen is None:
        raise UserError(
            f"Images: {table} has no column with names of files, only {listed([*map(str, frame)])}: name one by "
            "data.file"
        )
    return chosen


def _places(names: Iterable[Any], pictures: Sequence[Path], root: Path, table: Path) -> np.ndarray:
    """The position of each row's picture, -1 without one, [N]."""
    known = _by_name(pictures)
    found: list[int] = []
    row_of: dict[int, int] = {}
    for row, value in enumerate(names):
        name = _below(value, root)
        places = known.get(name, known.get(_below(value, root, outer=True), []))
        if len(places) > 1:
            both = listed([folder_name(pictures[i]) for i in places], 3)
            raise UserError(
                f"Images: {name!r} in row {row} of {table} can be {both}: write the folder and the ending, too"
            )
        place = places[0] if places else -1
        if place >= 0 and row_of.setdefault(place, row) != row:
            raise UserError(
                f"Images: rows {row_of[place]} and {row} of {table} are both {folder_name(pictures[place])}: keep one"
            )
        found.append(place)
    if not row_of:
        raise UserError(
            f"Images: no row of {table} is a picture in {root}: it names {listed([str(value) for value in names], 2)}, "
            f"and there are {listed([folder_name(path) for path in pictures], 2)}: name the column by data.file"
        )
    return np.array(found, dtype=np.int64)


def _by_name(pictures: Sequence[Path]) -> Mapping[str, list[int]]:
    """The pictures that a name can mean: a whole path, then one without its ending, then both without folders."""
    known: dict[str, list[int]] = {}
    for of in (Path, lambda path: path.with_suffix(""), lambda path: Path(path.name), lambda path: Path(path.stem)):
        layer: dict[str, list[int]] = {}
        for i, path in enumerate(pictures):
            layer.setdefault(folder_name(of(path)), []).append(i)
        known = {**layer, **known}
    return known


def _below(value: Any, root: Path, outer: bool = False) -> str:
    """A name as a path below `root`; with `outer`, one that begins with the name of `root` itself."""
    name = folder_name(str(value).strip().replace("\\", "/"))
    if os.path.isabs(name):
        return folder_name(os.path.relpath(name, root))
    name = name.removeprefix("./")
    return name.removeprefix(f"{folder_name(root.name)}/") if outer else name
