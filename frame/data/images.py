"""A folder of the user's own pictures, with labels from class folders or from a table."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from frame.common.errors import UserError
from frame.common.memory import AUTO, bytes_of, shown
from frame.common.output import say
from frame.data.base import Source
from frame.data.duplicates import duplicates_told, some_duplicates_told
from frame.data.files import places, roots
from frame.data.folders import BEGINNINGS, SUFFIXES, Found, class_names, folder_name, look_through, split_folders
from frame.data.from_files import FromFiles, Rows, found_file
from frame.data.identity import digest, listed
from frame.data.memory import InMemory, check_binarize
from frame.data.on_disk import Stored
from frame.data.picture_labels import picture_rows
from frame.data.splits import Part, Splitting, drawn_by_name
from frame.data.targets import Targets
from frame.data.tensors import CHANNELS, PLAIN, depth

# whatever the suffix: EPS would start a program; the JPEG reader reads MPO, too
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
FOLDER = "folder"  # the group of a picture: the folder that it lies in
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DEEP = 65535  # the largest value of 16 bits


class Images(FromFiles):
    """Pictures below `root`, decoded once into memory, or by each batch if they do not fit.

    Folders directly below `root` are classes, sorted alphabetically (as numbers if all are numbers), if all pictures
    are in such folders, at any depth; without them there is no 'y'. With `labels` 'y' is read from that table, and the
    names of folders are no classes. Folders called train, valid (or val, validation, dev) and test below `root`, in any
    case, are the splits. Those that are missing are held out of 'train'. Without group and time a hash of relative
    paths decides, so that a picture has the same split on every machine, and mostly if others are added.

    Links are followed. Hidden files, other files, archives and folders without pictures are left out and listed, and so
    are pictures without a row of `labels` and rows without a picture. Pictures are turned upright by their EXIF data.
    Transparent ones are laid on white, unless channels=4 keeps their transparency. Palettes, CMYK, black and white and
    other colours are converted. Grey pictures of 16 bits become 8 bits by round(255 min(value / white, 1)), and so do
    those of floats and 32 bits if `white` is given. More than one frame is refused.

    Args:
        root: the folder; None takes `images/` in data_root, or in big_data_root if it is not there.
        size: pixels of a side, or [height, width]: the picture is resized until it covers this, and the centre is
            cropped; None: pictures keep their size, which must be that of all.
        channels: 3 for colour, 1 for grey, 4 for colour and transparency.
        binarize: 'none', 'dynamic' or 'static', each channel by itself, see `InMemory`.
        labels: a CSV, TSV or Parquet file with a row for each picture, below `root` or where other files are searched.
        label: the column to predict, or several; None takes all but `file`, `group`, `time` and `env`.
        file: the column with the names of the pictures, as paths below `root` or without folders, with or without
            endings; None takes one of a usual name, such as `file` or `image`, or the first column of words.
        task: 'classes', 'numbers', 'labels' (several a row), or 'auto'.
        standardise: whether numbers to predict get mean 0 and variance 1 on 'train'.
        white: the value of pictures with more than 8 bits that becomes white; None: 65535 for 16 bits.
        n_valid, n_test, seed, group, split_by, time, env: see `Splitting`; `group`, `time` and `env` are columns of
            `labels`; group='folder' keeps the pictures of a folder together, and env='folder' makes each folder an
            environment. Without `time` pictures are ordered by the rows of `labels`, or by their names, with numbers in
            them as numbers.
        data_root, big_data_root: folders that are searched for `images/`, `root` and `labels`.
        memory: the pictures are kept in memory if they take no more than this once they are decoded: '8 GB', or 'auto',
            half of the memory; else they are decoded whenever a batch asks for them.

    Raises:
        UserError: a value is out of range; from `split`, a folder is missing, empty or ambiguous, `labels` does not fit
            it, or pictures are broken, with the reasons.
    """

    row = "picture"

    def __init__(
        self,
        root: str | Path | None = None,
        size: int | Sequence[int] | None = 64,
        channels: int = 3,
        binarize: str = "none",
        labels: str | Path | None = None,
        label: str | Sequence[str] | None = None,
        file: str | None = None,
        task: str = "auto",
        standardise: bool = True,
        white: float | None = None,
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
        check_binarize(binarize)
        self.memory = bytes_of(memory, "device.memory_for_data")
        sides = None if size is None else sides_of(size, "Images")
        check_channels(channels, "Images")
        if white is not None and not white > 0:
            raise UserError(f"Images: white={white} must be a positive value")
        if labels is None and (label is not None or file is not None):
            raise UserError("Images: label and file are columns of labels: set data.labels to a CSV or Parquet file")
        if root is None:
            usual = [folder / "images" for folder in roots(data_root, big_data_root)]
            root = next((place for place in usual if place.is_dir()), usual[0])
        given = Path(root).expanduser()
        searched = [folder / given for folder in places(data_root, big_data_root)]
        self.root = next((place for place in searched if place.exists()), given)
        splitting = Splitting(n_valid, n_test, seed, group, split_by, time, env)
        super().__init__({"train": self.root}, task, splitting, standardise, data_root, big_data_root)
        self.sides, self.channels, self.binarize, self.white = sides, channels, binarize, white
        self.table, self.file = labels, file
        self.label = [label] if isinstance(label, str) else None if label is None else list(label)
        self._notes: list[str] = []

    @cached_property
    def shape(self) -> tuple[int, ...]:
        if self.sides is None:
            first = self.root / self._found["train"].x[0]
            try:
                return self.channels, *upright_size(first)
            except Unfit as unfit:
                raise UserError(f"Images: {first} cannot be read ({unfit}): mend or remove it") from None
        return self.channels, *self.sides

    @property
    def keys(self) -> tuple[str, ...]:
        labels = ("y",) if self.targets is not None else ()
        return ("x", *labels, *(("env",) if self.splitting.env else ()))

    def read(self, split: str, given: Any) -> dict[str, Rows]:
        """The paths of the pictures of each split below `root`, as 'x'."""
        if self.root.is_file():
            raise UserError(f"Images: {self.root} is a file: unpack an archive, and set data.root to the folder")
        if not self.root.is_dir():
            raise UserError(f"Images: there is no folder {self.root}: set data.root to your folder of pictures")
        found = look_through(self.root)
        if not found.pictures:
            raise UserError(self._nothing(self.root, found))
        if found.summary:
            self._notes.append(f"left out {found.summary}")
        folders = split_folders(self.root, found)
        parts: dict[str, tuple[str, list[Path]]] = {"train": ("", found.pictures)}
        if folders:
            parts = {split: (top, [p for p in found.pictures if p.parts[0] == top]) for split, top in folders.items()}
            for split, (top, inside) in parts.items():
                if not inside:
                    raise UserError(self._nothing(self.root / top, Found()).replace(") in", f") for '{split}' in"))
        if self.table is not None:
            return self._by_table(parts)
        return self._by_folders(parts)

    def _by_folders(self, parts: Mapping[str, tuple[str, list[Path]]]) -> dict[str, Rows]:
        below = {s: (self.root / top, [p.relative_to(top) for p in paths]) for s, (top, paths) in parts.items()}
        names = class_names(below, self.root)
        if len(names) == 1:
            self._notes.append(f"all pictures are of one class, '{names[0]}', so that labels say nothing")
        numbers = {name: i for i, name in enumerate(names)}
        rows = {}
        for split, (_, paths) in below.items():
            y, classes = None, None
            tops = [folder_name(path.parts[0]) for path in paths]
            if names and self.task == "numbers":
                y = _as_numbers(tops, self.root)
            elif names:
                y, classes = np.array([numbers[top] for top in tops]), names
            rows[split] = self._rows(parts[split][1], y, {}, classes)
        return rows

    def _by_table(self, parts: Mapping[str, tuple[str, list[Path]]]) -> dict[str, Rows]:
        place = found_file(str(self.table), (self.root, *self.folders), "Images")
        every = [path for _, paths in parts.values() for path in paths]
        found = picture_rows(place, every, self.root, self.file, self.label, self.splitting)
        self._notes += found.notes
        self.label = found.label
        rows = {}
        for split, (top, _) in parts.items():
            inside = np.array([not top or every[i].parts[0] == top for i in found.pictures], dtype=bool)
            paths = [every[i] for i in found.pictures[inside]]
            columns = {name: column[inside] for name, column in found.columns.items()}
            rows[split] = self._rows(paths, found.y[inside], columns, found.names)
        return rows

    def _rows(
        self, paths: Sequence[Path], y: np.ndarray | None, columns: dict[str, np.ndarray], names: Sequence[str] | None
    ) -> Rows:
        x = np.empty(len(paths), dtype=object)
        x[:] = paths
        if FOLDER not in columns:
            columns[FOLDER] = np.array([folder_name(path.parent) for path in paths], dtype=object)
        return Rows(x, y, columns, names)

    def _part(self, rows: Rows, targets: Targets | None) -> Part:
        part, how = super()._part(rows, targets), self.splitting
        if how.split_by == "time" and how.time is None and self.table is None:
            keys = [_in_order(folder_name(path.name)) for path in rows.x]
            rank = {key: i for i, key in enumerate(sorted(set(keys)))}
            part.times = np.array([rank[key] for key in keys])
        part.order = drawn_by_name([os.fsencode(folder_name(path)) for path in rows.x], how.seed)
        return part

    @property
    def label_named(self) -> str:
        return "class folders" if self.table is None else f"label '{', '.join(self.label or ())}'"

    def described(self, rows: dict[str, Rows]) -> str:
        size = "of their own size" if self.sides is None else f"of {self.sides[0]} x {self.sides[1]} pixels"
        kind = {1: "grey", 3: "in colour", 4: "in colour with transparency"}[self.channels]
        return "; ".join([f"pictures {size}, {kind}", *self._notes])

    def lacking(self, split: str) -> str:
        return f"Images: there is no split '{split}': set data.n_{split} above 0, or make a folder {split}/"

    def _nothing(self, folder: Path, found: Found) -> str:
        there = f"; there are {found.summary}" if found.summary else ""
        return f"Images: there are no pictures ({', '.join(sorted(SUFFIXES))}) in {folder}{there}"

    def identity(self, split: str) -> dict[str, Any]:
        """Rows, and hashes of labels and of the files' relative paths and sizes, without reading a picture."""
        rows, targets = self._found[split], self._targets
        told = [f"{folder_name(path)} {(self.root / path).stat().st_size}" for path in rows.x]
        found = {"rows": len(rows.x), "files": digest(os.fsencode("\n".join(told)))}
        if targets is None or rows.y is None:
            return found
        y = rows.y.astype(np.float64) if targets.kind == "numbers" else targets.coded(rows.y)
        return found | {"labels": digest(np.ascontiguousarray(y).tobytes())}

    def load(self, split: str) -> Source:
        rows = self._found[split]
        pictures = Pictures(self.name, self.root, rows.x, self.shape, self.sides is None, self.white)
        found = self.labelled(pictures.all() if self._fits else Stored(pictures), rows, split)
        train = self._loaded.get("train")
        if split != "train" and train is not None:
            if isinstance(train, InMemory) and isinstance(found, InMemory) and self._fits:
                near = duplicates_told({"train": train.x.numpy(), split: found.x.numpy()})
            else:
                near = some_duplicates_told({"train": train, split: found})
            if near:
                say(f"{self.name}: {near}")
        return found

    @cached_property
    def _fits(self) -> bool:
        """Whether the pictures of all splits may be kept in memory; a line says it if not."""
        n = sum(len(rows.x) for rows in self._found.values())
        return kept_in_memory(self.name, n * math.prod(self.shape), self.memory)


def sides_of(size: int | Sequence[int], name: str) -> tuple[int, int]:
    """Height and width. Raises UserError unless it is a number of pixels, or two of them; `name` names the data."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or min(sides) < 1:
        raise UserError(f"{name}: size={size} must be at least 1 pixel, or two numbers of pixels [height, width]")
    return sides


def check_channels(channels: int, name: str) -> None:
    """Raises UserError unless pictures can have so many channels."""
    if channels not in CHANNELS:
        raise UserError(f"{name}: channels={channels} must be 1 (grey), 3 (colour) or 4 (colour and transparency)")


def kept_in_memory(name: str, n_bytes: int, memory: int) -> bool:
    """Whether decoded pictures of so many bytes may be kept in memory; a line says which."""
    if n_bytes <= memory:
        say(f"{name}: decoded once and kept in memory ({shown(n_bytes)})")
        return True
    say(
        f"{name}: {shown(n_bytes)} are more than device.memory_for_data ({shown(memory)}), so pictures are decoded "
        "whenever a batch asks for them: by the processes that device.num_workers allows, or else by threads"
    )
    return False


class Pictures:
    """Files of pictures, decoded when they are read: a reader for `Stored`.

    Args:
        name: of the data set, for messages.
        base: the folder of the files; None if there is none.
        files: paths below it, or the contents of files.
        shape, own, white: as `decoded` takes them.

    Raises:
        UserError: pictures are broken, with the reasons.
    """

    dtype = np.dtype(np.uint8)
    cheap = False

    def __init__(
        self, name: str, base: Path | None, files: Any, shape: tuple[int, ...], own: bool, white: float | None
    ) -> None:
        self.name, self.base, self.shape, self.own, self.white = name, base, shape, own, white
        # bytes lie in one piece, which workers share; each would come to copy objects
        self.files = files if base is None else np.array([os.fsencode(file) for file in files])

    def __len__(self) -> int:
        return len(self.files)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Pictures [B, C, H, W] uint8."""
        return self._decoded(rows.tolist())[0]

    def all(self) -> Tensor:
        """All pictures; a line says how many have more than 8 bits."""
        x, deep = self._decoded(range(len(self)))
        if deep.any() and self.white is None:
            say(
                f"{self.name}: {int((deep > 0).sum())} of {len(x)} pictures have 16 bits: {DEEP} became white, and "
                f"their largest value is {deep.max():g}: set data.white if another value is white"
            )
        return torch.from_numpy(x)

    def _decoded(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """[B, C, H, W] uint8, and the largest values of those with more than 8 bits; all broken files are named."""
        x, deep = np.empty((len(rows), *self.shape), np.uint8), np.zeros(len(rows))

        def fill(i: int) -> str:
            file = self.files[rows[i]]
            try:
                there = file if self.base is None else self.base / os.fsdecode(file)
                x[i], deep[i] = decoded(there, self.shape, self.own, self.white)
            except Unfit as unfit:
                return f"{self._named(rows[i])} ({unfit})"
            return ""

        if get_worker_info() is not None:  # the other workers have the other cores
            wrong = [text for i in range(len(rows)) if (text := fill(i))]
        else:
            with ThreadPoolExecutor() as pool:  # decoders release Python's lock
                wrong = [text for text in pool.map(fill, range(len(rows))) if text]
        if wrong:
            named = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
            where = f" in {self.base}" if self.base is not None else ""
            raise UserError(
                f"{self.name}: {len(wrong)} of {len(rows)} pictures{where} cannot be read: {named}: mend or remove them"
            )
        return x, deep

    def _named(self, row: int) -> str:
        return folder_name(os.fsdecode(self.files[row])) if self.base is not None else f"row {row}"


class Unfit(Exception):
    """Why a picture cannot be used."""


def decoded(
    file: Path | bytes, shape: Sequence[int], own: bool = False, white: float | None = None
) -> tuple[np.ndarray, float]:
    """A picture's pixels [C, H, W] uint8, upright, and the largest value of one of more than 8 bits, or 0.

    Args:
        file: its place, or its content.
        shape: C, H and W.
        own: whether the picture must have this size already; else it is resized and cropped.
        white: the value of more than 8 bits that becomes white; None: 65535 for 16 bits.

    Raises:
        Unfit: with the reason, in a few words.
    """
    from PIL import Image, ImageOps

    channels, height, width = shape
    try:
        if not (file.stat().st_size if isinstance(file, Path) else file):
            raise Unfit("it has no bytes")
        with Image.open(file if isinstance(file, Path) else BytesIO(file), formats=FORMATS) as image:
            _check_frames(image)
            image, largest = _of_8_bits(image, white)
            plain = _plain(ImageOps.exif_transpose(image), channels)
        if own and plain.size != (width, height):
            raise Unfit(f"it has {plain.height} x {plain.width} pixels, the first {height} x {width}: set data.size")
        pixels = np.array(plain if own else ImageOps.fit(plain, (width, height), Image.Resampling.BICUBIC))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unfit("it has too many pixels to be opened safely: make it smaller") from None
    except Image.UnidentifiedImageError:
        raise Unfit(_begin(file)) from None
    except PermissionError:
        raise Unfit("you may not read it") from None
    except Unfit:
        raise
    except Exception as error:  # the error of a broken picture depends on its format
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        cut = "truncated" in text or "ended" in text or "no more data" in text or isinstance(error, EOFError)
        raise Unfit("it is cut short" if cut else f"it is broken: {text[:60]}") from None
    return (pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)), largest


def _check_frames(image: Any) -> None:
    """Raises Unfit if the picture has several frames."""
    n_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photograph and its preview
    if n_frames > 1:
        raise Unfit(f"it has {n_frames} frames or pages: keep one of them as a file of its own")


def _of_8_bits(image: Any, white: float | None) -> tuple[Any, float]:
    """The picture with 8 bits a channel, and its largest value if it had more, else 0.

    Raises:
        Unfit: it has floats or whole numbers of 32 bits, and `white` is not known.
    """
    from PIL import Image

    if image.mode[0] not in "IF":
        return image, 0.0
    if white is None and not image.mode.startswith("I;16"):
        raise Unfit(f"it has {depth(image.mode)}: set data.white to the value that is white, or convert it to 8 bits")
    values = np.array(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise Unfit("it has values that are not finite")
    grey = Image.fromarray((255 * (values / (white or DEEP)).clip(0, 1)).round().astype(np.uint8))
    grey.info.update({key: value for key, value in image.info.items() if key == "exif"})
    return grey, max(float(values.max()), 1.0)


def _plain(image: Any, channels: int) -> Any:
    """In grey, in colour, or with transparency; otherwise transparent pixels are laid on white."""
    from PIL import Image

    if channels == 4:
        return image.convert("RGBA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode in PLAIN:
        image = image.convert("RGB" if image.mode != "1" else "L")
    return image.convert(MODES[channels])


def upright_size(file: Path) -> tuple[int, int]:
    """The height and the width of a picture when it is turned upright, from its header.

    Raises:
        Unfit: it cannot be opened.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # depends on its format
        raise Unfit(_begin(file) if file.stat().st_size else "it has no bytes") from None


def _in_order(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts names with numbers in them as numbers."""
    pieces = re.split(r"([0-9]+)", name)
    return tuple((int(piece), "") if i % 2 else (-1, piece) for i, piece in enumerate(pieces))


def _as_numbers(names: Sequence[str], root: Path) -> np.ndarray:
    try:
        return np.array([float(name) for name in names])
    except ValueError:
        raise UserError(
            f"Images: task=numbers, but the class folders in {root} are no numbers: {listed(sorted(set(names)))}"
        ) from None


def _begin(file: Path | bytes) -> str:
    with file.open("rb") if isinstance(file, Path) else BytesIO(file) as stream:
        start = stream.read(200).lstrip()
    if start[:1] == b"<":
        return "it is a web page or another text, and no picture"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of git-lfs: run git lfs pull"
    return "it is broken or cut short" if start.startswith(BEGINNINGS) else "it is not a known kind of picture"
