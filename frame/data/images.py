"""A folder of the user's own pictures."""

import hashlib
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.data.base import DataSet, Source
from frame.data.identity import digest
from frame.data.memory import InMemory, check_binarize
from frame.mistakes import Mistake

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})


class Images(DataSet):
    """Pictures below `root`, decoded once into memory.

    Folders directly below `root` are classes, in alphabetical order, if all pictures lie in such folders; without
    them there is no 'y'. Folders `train`, `valid`, `test` below `root` are the splits (with class folders in them, or
    without); else parts of all pictures are held out, by a hash of their relative paths, so that a picture stays in
    its split on every machine, and mostly when others are added.

    Args:
        root: the folder.
        size: pixels of a side: the shorter side is resized to it, the centre is kept.
        channels: 3 for colour, 1 for grey.
        binarize: 'none', 'dynamic' or 'static', each channel by itself, see `InMemory`.
        n_valid, n_test: parts to hold out, each in [0, 1).

    Raises:
        Mistake: a value out of range; from `split`, a folder that is missing or empty, or pictures that are broken.
    """

    def __init__(
        self,
        root: str | Path,
        size: int = 64,
        channels: int = 3,
        binarize: str = "none",
        n_valid: float = 0.1,
        n_test: float = 0.1,
    ) -> None:
        super().__init__()
        check_binarize(binarize)
        if size < 1:
            raise Mistake(f"Images: size={size} must be at least 1 pixel")
        if channels not in (1, 3):
            raise Mistake(f"Images: channels={channels} must be 1 (grey) or 3 (colour)")
        if not (0 <= n_valid and 0 <= n_test and n_valid + n_test < 1):
            raise Mistake(
                f"Images: n_valid={n_valid} and n_test={n_test} must be parts of 1 that leave some for training"
            )
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
        folders = {path.parts[0] for base, paths in self._paths.values() for path in paths if len(path.parts) > 1}
        beside = [path for base, paths in self._paths.values() for path in paths if len(path.parts) == 1]
        if folders and beside:
            raise Mistake(f"Images: {beside[0]} lies beside class folders in {self.root}: move it into one of them")
        return sorted(folders)

    @cached_property
    def _paths(self) -> dict[str, tuple[Path, list[Path]]]:
        """For each split the folder and its pictures' paths below it."""
        if not self.root.is_dir():
            raise Mistake(f"Images: there is no folder {self.root}: set data.root to your folder of pictures")
        if (self.root / "train").is_dir():
            named = [split for split in ("train", "valid", "test") if (self.root / split).is_dir()]
            paths = {split: (self.root / split, _pictures(self.root / split)) for split in named}
            if "valid" not in paths:
                base, every = paths["train"]
                paths["valid"], paths["train"] = ((base, part) for part in _held_out(every, self.n_valid))
        else:
            every = _pictures(self.root)
            test, others = _held_out(every, self.n_test)
            valid, train = _held_out(others, self.n_valid / (1 - self.n_test))
            paths = {"train": (self.root, train), "valid": (self.root, valid), "test": (self.root, test)}
        return paths

    def split(self, name: str) -> Source:
        base, paths = self._paths.get(name, (self.root, []))
        if name in self.splits and not paths:
            raise Mistake(f"Images: there are no pictures ({', '.join(sorted(SUFFIXES))}) for '{name}' in {base}")
        return super().split(name)

    def identity(self, split: str) -> dict[str, Any]:
        """Rows, and a hash of the files' relative paths, classes included, and sizes: no picture is read for it."""
        base, paths = self._paths.get(split, (self.root, []))
        told = [f"{_name(path)} {(base / path).stat().st_size}" for path in paths]
        return {"rows": len(paths), "files": digest("\n".join(told).encode())}

    def load(self, split: str) -> Source:
        base, paths = self._paths[split]
        classes = {name: i for i, name in enumerate(self.classes)}
        x = self._decode(base, paths)
        y = torch.tensor([classes[path.parts[0]] for path in paths]) if classes else None
        return InMemory(x, y, binarize=self.binarize, seed=self.splits.index(split))

    def _decode(self, base: Path, paths: list[Path]) -> Tensor:
        """[N, C, size, size] uint8; all broken files are named at once."""
        decode = _decoder(self.size, self.channels)
        x = torch.empty(len(paths), *self.shape, dtype=torch.uint8)

        def fill(i: int) -> Path | None:
            try:
                x[i] = torch.from_numpy(decode(base / paths[i]))
            except Exception:  # what a broken picture raises depends on its format
                return paths[i]
            return None

        with ThreadPoolExecutor() as pool:  # decoders release Python's lock
            wrong = [path for path in pool.map(fill, range(len(paths))) if path is not None]
        if wrong:
            named = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
            raise Mistake(
                f"Images: {len(wrong)} of {len(paths)} pictures in {base} cannot be read: {named}: remove them"
            )
        return x


def _pictures(folder: Path) -> list[Path]:
    """Relative paths of the pictures below `folder`, without hidden files."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


def _name(path: Path) -> str:
    """A relative path as every system writes it."""
    return unicodedata.normalize("NFC", path.as_posix())


def _held_out(paths: list[Path], part: float) -> tuple[list[Path], list[Path]]:
    """The part held out, and the others."""
    by_hash = sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(_name(path))).digest())
    n = round(len(paths) * part)
    return sorted(by_hash[:n]), sorted(by_hash[n:])


def _decoder(size: int, channels: int) -> Callable[[Path], np.ndarray]:
    from PIL import Image, ImageOps

    def decode(path: Path) -> np.ndarray:  # [C, size, size] uint8
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # PIL would cut these off at 255
                raise ValueError("more than 8 bits a channel")
            upright = ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L")
        pixels = np.array(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))
        return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]

    return decode
