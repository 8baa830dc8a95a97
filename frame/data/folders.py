"""Finds splits, classes and pictures in a folder, and lists what it leaves out."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frame.common.errors import UserError
from frame.data.identity import listed
from frame.data.splits import split_named

SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm".split()  # in any case
)
ARCHIVES = frozenset(".zip .tar .tgz .gz .bz2 .xz .7z .rar .zst".split())
JUNK = ("thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "@eadir")  # files of operating systems
BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")


@dataclass
class Found:
    """Pictures' paths below a folder, sorted, and the others."""

    pictures: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    empty: list[str] = field(default_factory=list)  # folders without pictures

    @property
    def summary(self) -> str:
        """One line on what was left out; '' if nothing was."""
        parts = [f"{n} {kind}" for kind, n in sorted(self.left_out.items())]
        if self.empty:
            parts.append(f"{len(self.empty)} folders without pictures ({listed(self.empty, 3)})")
        return ", ".join(parts)


def folder_name(path: Path | str) -> str:
    """A relative path in the same form on every system: with '/', and accents composed (NFC)."""
    return unicodedata.normalize("NFC", path.as_posix() if isinstance(path, Path) else path)


def look_through(folder: Path) -> Found:
    """All pictures below a folder, through links to folders and files, too; hidden files and junk are left out.

    Raises:
        UserError: a folder cannot be read, or a link leads to a folder that it lies in.
    """
    found = Found()
    for place, files in _folders(folder, (os.path.realpath(folder),)):
        n_before = len(found.pictures)
        for file in files:
            kind = _kind(file)
            if kind is None:
                found.pictures.append(place.relative_to(folder) / file.name)
            else:
                found.left_out[kind] += 1
        if place != folder and len(found.pictures) == n_before:
            found.empty.append(folder_name(place.relative_to(folder)))
    found.pictures.sort(key=folder_name)
    full = {folder_name(parent) for path in found.pictures for parent in path.parents}
    found.empty = sorted(name for name in found.empty if name not in full)
    return found


def _folders(folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    try:
        with os.scandir(folder) as entries:
            here = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"Images: {folder} cannot be read: {error.strerror}") from None
    inner = [entry for entry in here if entry.is_dir()]
    yield folder, [entry for entry in here if not entry.is_dir() and not _is_junk(entry.name)]
    for entry in inner:
        if entry.name.startswith(".") or _is_junk(entry.name):
            continue
        real = os.path.realpath(entry.path)
        if real in above:
            raise UserError(f"Images: {entry.path} is a link to a folder that it lies in: remove it")
        yield from _folders(folder / entry.name, (*above, real))


def _is_junk(name: str) -> bool:
    return name.startswith("._") or name in (".DS_Store", ".directory", ".gitkeep") or name.lower() in JUNK


def _kind(file: os.DirEntry[str]) -> str | None:
    """None for a picture, else the kind of file, which is left out."""
    if file.name.startswith("."):
        return "hidden files"
    if not file.is_file():
        return "links to nothing" if file.is_symlink() else "pipes or devices"
    suffix = Path(file.name).suffix.lower()
    if suffix in SUFFIXES:
        return None
    if suffix in ARCHIVES:
        return "archives (unpack them)"
    if suffix == "":
        return None if _begins_as_picture(file) else "files without an ending"
    return f"{suffix} files"


def _begins_as_picture(file: os.DirEntry[str]) -> bool:
    try:
        with open(file.path, "rb") as stream:
            return stream.read(4).startswith(BEGINNINGS)
    except OSError:
        return True  # decoding it names the reason


def split_of(name: str) -> str | None:
    """The split that a folder's name means."""
    return split_named(folder_name(name))


def split_folders(root: Path, found: Found) -> dict[str, str]:
    """The name of each split's folder directly below `root`; empty if there are no split folders.

    Raises:
        UserError: two folders for one split, splits beside other folders or pictures, no 'train', or splits in classes.
    """
    tops: dict[str, list[Path]] = {}
    for path in found.pictures:
        tops.setdefault(path.parts[0] if len(path.parts) > 1 else "", []).append(path)
    named: dict[str, str] = {}
    for top in [*sorted(filter(None, tops)), *[name for name in found.empty if "/" not in name]]:
        split = split_of(top)
        if split is None:
            continue
        if split in named and named[split] != top:
            raise UserError(f"Images: {named[split]}/ and {top}/ in {root} are both '{split}': keep one")
        named[split] = top
    others = sorted(top for top in tops if top and top not in named.values())
    are = listed([f"{name}/" for name in named.values()])
    if named and others:
        raise UserError(
            f"Images: {listed([f'{name}/' for name in others], 3)} beside {are} in {root}: some are splits by their "
            "names and some are not; move all pictures into the splits, or rename them"
        )
    if named and "" in tops:
        raise UserError(f"Images: {tops[''][0]} lies beside {are} in {root}: move it into one of them")
    if named and "train" not in named:
        raise UserError(
            f"Images: {root} has {are} and no train/: name the folder to train on train/, or rename the others"
        )
    if not named:
        _refuse_splits_in_classes(root, found.pictures)
    return named


def _refuse_splits_in_classes(root: Path, paths: Sequence[Path]) -> None:
    inside = [path for path in paths if len(path.parts) > 2 and split_of(path.parts[1])]
    if inside and len({split_of(path.parts[1]) for path in inside}) > 1:
        first = inside[0]
        raise UserError(
            f"Images: {first.parent} in {root} is a split within a class: move it to "
            f"{first.parts[1]}/{first.parts[0]}, and the others likewise"
        )


def class_names(parts: Mapping[str, tuple[Path, Sequence[Path]]], root: Path) -> list[str]:
    """The names of the folders with the pictures of each split; none if pictures are not in folders.

    They are sorted alphabetically, or as numbers if all of them are numbers.

    Raises:
        UserError: pictures beside class folders, names that differ only by case or by how accents are written, a class
            that 'train' lacks, or a single folder that only holds others.
    """
    by_split = {split: {path.parts[0] for path in paths if len(path.parts) > 1} for split, (_, paths) in parts.items()}
    every = {name for names in by_split.values() for name in names}
    for base, paths in parts.values():
        beside = [path for path in paths if len(path.parts) == 1]
        if every and beside:
            raise UserError(f"Images: {beside[0]} lies beside class folders in {base}: move it into one of them")
    alike: dict[str, str] = {}
    for name in sorted(every):
        other = alike.setdefault(folder_name(name).casefold(), name)
        if other != name and not (folder_name(other) == folder_name(name) and _never_together(other, name, by_split)):
            raise UserError(
                f"Images: the class folders {other!a} and {name!a} in {root} differ only by case or by how accents are "
                "written: give one of them another name, or put them together"
            )
    train = {folder_name(name) for name in by_split.get("train", ())}
    for split, folders in by_split.items():
        unknown = sorted({folder_name(name) for name in folders} - train)
        if unknown and split != "train" and train:
            raise UserError(
                f"Images: '{split}' has the classes {listed(unknown)}, which 'train' lacks, in {root}: a model cannot "
                "learn them; move them out, or give 'train' some"
            )
    if len(every) == 1:
        _refuse_one_folder_of_folders(parts, root)
    found = sorted({folder_name(name) for name in every})
    return sorted(found, key=int) if all(re.fullmatch(r"[0-9]{1,18}", name) for name in found) else found


def _never_together(one: str, other: str, by_split: Mapping[str, set[str]]) -> bool:
    return not any(one in names and other in names for names in by_split.values())


def _refuse_one_folder_of_folders(parts: Mapping[str, tuple[Path, Sequence[Path]]], root: Path) -> None:
    paths = [path for _, some in parts.values() for path in some]
    if len({path.parts[1] for path in paths if len(path.parts) > 2}) > 1 and all(len(path.parts) > 2 for path in paths):
        top = paths[0].parts[0]
        raise UserError(
            f"Images: all pictures in {root} lie in folders within {top}/, which would be the only class: "
            f"set data.root to the folder that has the classes or the splits, such as {root / top}"
        )
