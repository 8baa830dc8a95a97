"""A folder of the user's own pictures."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.data.base import DataSet, Source
from frame.data.files import roots
from frame.data.folders import (
    BEGINNINGS,
    SUFFIXES,
    Found,
    class_names,
    folder_name,
    held_out,
    look_through,
    split_folders,
)
from frame.data.identity import digest
from frame.data.memory import InMemory, check_binarize
from frame.data.tensors import PLAIN, depth

# whatever the suffix: EPS would start a program; the JPEG reader reads MPO, too
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")


class Images(DataSet):
    """Pictures below `root`, decoded once into memory.

    Folders directly below `root` are classes, sorted alphabetically (as numbers if all are numbers), if all pictures
    are in such folders, at any depth; without them there is no 'y'. Folders called train, valid (or val, validation,
    dev) and test below `root`, in any case, are the splits, with class folders in them or without. Otherwise the same
    share of every class is held out by a hash of relative paths, so that a picture has the same split on every machine,
    and mostly if others are added.

    Links are followed. Hidden files, other files, archives and folders without pictures are left out and listed.
    Pictures are turned upright by their EXIF data. Transparent ones are laid on white. Palettes, CMYK, black and white
    and other colours are converted. More than 8 bits a channel or more than one frame is refused.

    Args:
        root: the folder; None takes `images/` in data_root, or in big_data_root if it is not there.
        size: pixels of a side: the shorter side is resized to this, and the centre is cropped.
        channels: 3 for colour, 1 for grey.
        binarize: 'none', 'dynamic' or 'static', each channel by itself, see `InMemory`.
        n_valid, n_test: shares to hold out, each in [0, 1).
        data_root, big_data_root: folders that are searched for `images/`.

    Raises:
        UserError: a value is out of range; from `split`, a folder is missing, empty or ambiguous, or
            pictures are broken, with the reasons.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        size: int = 64,
        channels: int = 3,
        binarize: str = "none",
        n_valid: float = 0.1,
        n_test: float = 0.1,
        data_root: str | Path = ".",
        big_data_root: str | Path | None = None,
    ) -> None:
        super().__init__()
        check_binarize(binarize)
        if size < 1:
            raise UserError(f"Images: size={size} must be at least 1 pixel")
        if channels not in (1, 3):
            raise UserError(f"Images: channels={channels} must be 1 (grey) or 3 (colour)")
        if not (0 <= n_valid and 0 <= n_test and n_valid + n_test < 1):
            raise UserError(
                f"Images: n_valid={n_valid} and n_test={n_test} must be parts of 1 that leave some for training"
            )
        if root is None:
            places = [folder / "images" for folder in roots(data_root, big_data_root)]
            root = next((place for place in places if place.is_dir()), places[0])
        self.root, self.size, self.channels, self.binarize = Path(root).expanduser(), size, channels, binarize
        self.n_valid, self.n_test = n_valid, n_test

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.size, self.size)

    @property
    def n_classes(self) -> int | None:
        return len(self.classes) or None

    @property
    def keys(self) -> tuple[str, ...]:
        return ("x", "y") if self.classes else ("x",)

    @cached_property
    def classes(self) -> list[str]:
        """The class folders' names; 'y' counts them from 0. Empty without class folders."""
        names = class_names(self._paths, self.root)
        if len(names) == 1:
            self._say(f"all pictures are of one class, '{names[0]}', so that labels say nothing")
        return names

    @cached_property
    def _paths(self) -> dict[str, tuple[Path, list[Path]]]:
        """The folder of each split and its pictures' paths below it."""
        if self.root.is_file():
            raise UserError(f"Images: {self.root} is a file: unpack an archive, and set data.root to the folder")
        if not self.root.is_dir():
            raise UserError(f"Images: there is no folder {self.root}: set data.root to your folder of pictures")
        found = look_through(self.root)
        if not found.pictures:
            raise UserError(self._nothing(self.root, found))
        if found.summary:
            self._say(f"left out {found.summary}")
        folders = split_folders(self.root, found)
        if not folders:
            test, others = held_out(found.pictures, self.n_test)
            valid, train = held_out(others, self.n_valid / (1 - self.n_test))
            return {"train": (self.root, train), "valid": (self.root, valid), "test": (self.root, test)}
        paths = {}
        for split, name in folders.items():
            inside = [path.relative_to(name) for path in found.pictures if path.parts[0] == name]
            paths[split] = (self.root / name, inside)
        if "valid" not in paths:
            base, every = paths["train"]
            valid, train = held_out(every, self.n_valid)
            paths["valid"], paths["train"] = (base, valid), (base, train)
        return paths

    def _say(self, text: str) -> None:
        print(f"frame: Images: {text} in {self.root}", file=sys.stderr)

    def _nothing(self, folder: Path, found: Found) -> str:
        there = f"; there are {found.summary}" if found.summary else ""
        return f"Images: there are no pictures ({', '.join(sorted(SUFFIXES))}) in {folder}{there}"

    def split(self, name: str) -> Source:
        base, paths = self._paths.get(name, (self.root, []))
        if name in self.splits and not paths:
            raise UserError(f"Images: there are no pictures ({', '.join(sorted(SUFFIXES))}) for '{name}' in {base}")
        return super().split(name)

    def identity(self, split: str) -> dict[str, Any]:
        """Rows, and a hash of the files' relative paths (with classes) and sizes, without reading a picture."""
        base, paths = self._paths.get(split, (self.root, []))
        told = [f"{folder_name(path)} {(base / path).stat().st_size}" for path in paths]
        return {"rows": len(paths), "files": digest(os.fsencode("\n".join(told)))}

    def load(self, split: str) -> Source:
        base, paths = self._paths[split]
        classes = {name: i for i, name in enumerate(self.classes)}
        x = self._decode(base, paths)
        y = torch.tensor([classes[folder_name(path.parts[0])] for path in paths]) if classes else None
        return InMemory(x, y, binarize=self.binarize, seed=self.splits.index(split))

    def _decode(self, base: Path, paths: list[Path]) -> Tensor:
        """[N, C, size, size] uint8; all broken files are named at once."""
        x = torch.empty(len(paths), *self.shape, dtype=torch.uint8)

        def fill(i: int) -> str:
            try:
                x[i] = torch.from_numpy(decoded(base / paths[i], self.size, self.channels))
            except Unfit as unfit:
                return f"{folder_name(paths[i])} ({unfit})"
            return ""

        with ThreadPoolExecutor() as pool:  # decoders release Python's lock
            wrong = [text for text in pool.map(fill, range(len(paths))) if text]
        if wrong:
            named = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
            raise UserError(
                f"Images: {len(wrong)} of {len(paths)} pictures in {base} cannot be read: {named}: mend or remove them"
            )
        return x


class Unfit(Exception):
    """Why a picture cannot be used."""


def decoded(file: Path, size: int, channels: int) -> np.ndarray:
    """A picture's pixels [C, size, size] uint8, upright.

    Raises:
        Unfit: with the reason, in a few words.
    """
    from PIL import Image, ImageOps

    try:
        if file.stat().st_size == 0:
            raise Unfit("it has no bytes")
        with Image.open(file, formats=FORMATS) as image:
            _check(image)
            plain = _plain(ImageOps.exif_transpose(image), channels)
        pixels = np.array(ImageOps.fit(plain, (size, size), Image.Resampling.BICUBIC))
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
    return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]


def _check(image: Any) -> None:
    """Raises Unfit if 8 bits a channel cannot hold the picture, or it has several frames."""
    if image.mode[0] in "IF":  # PIL would cut these off at 255
        raise Unfit(f"it has {depth(image.mode)}: convert it to 8 bits")
    n_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photograph and its preview
    if n_frames > 1:
        raise Unfit(f"it has {n_frames} frames or pages: keep one of them as a file of its own")


def _plain(image: Any, channels: int) -> Any:
    """In colour or in grey; transparent pixels are laid on white."""
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode in PLAIN:
        image = image.convert("RGB" if image.mode != "1" else "L")
    return image.convert("RGB" if channels == 3 else "L")


def _begin(file: Path) -> str:
    with file.open("rb") as stream:
        start = stream.read(200).lstrip()
    if start[:1] == b"<":
        return "it is a web page or another text, and no picture"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of git-lfs: run git lfs pull"
    return "it is broken or cut short" if start.startswith(BEGINNINGS) else "it is not a known kind of picture"
