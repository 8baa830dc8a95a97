"""dSprites' factors and pictures (Matthey, Higgins, Hassabis and Lerchner 2017, github.com/deepmind/dsprites-dataset).

Rendered here from the factors, or read from the official file if it is there.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError, at_least
from frame.data.base import Batch, DataSet, Source
from frame.data.files import find, roots
from frame.data.formats import broken

SIDE = 64  # pixels of a picture's side
FIRST = 16  # the sprite's centre at position 0, in pixels; positions are one pixel apart
SCALE = 18.2  # the side of the largest square; chosen so that no border lies on a pixel's centre


class Sprites(DataSet):
    """737,280 pictures 1 x 64 x 64, black and white without grey: every combination of five factors, once.

    A batch has 'factors' [B, 5] (int64, each value's index), 'y' the shape, and 'x'. Rows come in the official file's
    order: the shape changes slowest and the position y fastest. Its sixth factor, a constant colour, is left out.

        shape        square, ellipse (2 : 1), heart
        scale        0.5, 0.6 ... 1
        orientation  0, 9 ... 351 degrees; in the official file 0, 9.23 ... 360, so that its first and last agree
        x, y         32 each in [0, 1]: the centre from pixel 16 to pixel 47, y downwards

    Rendered pictures are ours: at one scale all shapes have the same area (331 pixels at scale 1), turn about their
    centre of mass, and a pixel is white if its centre lies within the shape. Numbers measured on them are near those
    on the official pictures, but not the same: name the pictures with the numbers.

    'valid' and 'test' are fixed random rows. By default 'train' has all rows, including theirs: as in the literature on
    disentanglement, which studies the factors of a known, finite set, nothing is held out.

    Args:
        data_root: its dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz, or the one in its folder dsprites/, is read.
        official: false renders even if there is such a file.
        n_valid, n_test: rows of the two splits.
        held_out: whether 'train' leaves out the rows of the two.
        big_data_root: another folder of data sets, searched for the file if data_root lacks it.

    Raises:
        UserError: too many rows are asked for; from `split`, the file is broken.
    """

    shape = (1, SIDE, SIDE)
    n_classes = 3
    keys = ("x", "factors", "y")
    file = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    factor_names = ("shape", "scale", "orientation", "x", "y")
    factor_sizes: tuple[int, ...] = (3, 6, 40, 32, 32)

    def __init__(
        self,
        data_root: str | Path,
        official: bool = True,
        n_valid: int = 10_000,
        n_test: int = 10_000,
        held_out: bool = False,
        big_data_root: str | Path | None = None,
    ) -> None:
        super().__init__()
        at_least(1, n_valid=n_valid, n_test=n_test)
        if n_valid + n_test >= self.n_rows:
            raise UserError(f"Sprites: n_valid={n_valid} and n_test={n_test} must leave some of {self.n_rows} rows")
        self.roots, self.official = roots(data_root, big_data_root), official
        self.n_valid, self.n_test, self.held_out = n_valid, n_test, held_out
        self._pictures: Pictures | None = None

    @property
    def n_rows(self) -> int:
        """All combinations of the factors."""
        return math.prod(self.factor_sizes)

    @property
    def path(self) -> Path | None:
        """The official file; None if the pictures are rendered."""
        found = [find(root, (self.file, f"dsprites/{self.file}")) for root in self.roots] if self.official else []
        return next((file for file in found if file is not None), None)

    def load(self, split: str) -> Source:
        if self._pictures is None:  # one for all splits
            self._pictures = Rendered() if self.path is None else Packed(read_packed(self.path, self.n_rows))
        return SpriteRows(self._pictures, self._rows(split), self.factor_sizes)

    def _rows(self, split: str) -> Tensor | None:
        """The split's rows among all rows; None if it has all of them."""
        if split == "train" and not self.held_out:
            return None
        order = torch.randperm(self.n_rows, generator=torch.Generator().manual_seed(0))
        valid, test, others = order.split([self.n_valid, self.n_test, self.n_rows - self.n_valid - self.n_test])
        return {"valid": valid, "test": test, "train": others}[split].sort().values


class Pictures(Protocol):
    def take(self, factors: Tensor, rows: Tensor) -> Tensor:
        """Pictures [B, 1, 64, 64], uint8, 0 or 255, by their factors [B, 5] or the equivalent rows [B]."""
        ...

    def to(self, device: torch.device) -> "Pictures": ...


class SpriteRows:
    """A split: pictures with their factors."""

    levels = 2

    def __init__(self, pictures: Pictures, rows: Tensor | None, factor_sizes: tuple[int, ...]) -> None:
        self.pictures, self.rows, self.factor_sizes = pictures, rows, factor_sizes

    def __len__(self) -> int:
        return math.prod(self.factor_sizes) if self.rows is None else len(self.rows)

    def batch(self, indices: Tensor) -> Batch:
        here = indices if self.rows is None else indices.to(self.rows.device)
        rows = here if self.rows is None else self.rows.index_select(0, here)
        factors = torch.stack(torch.unravel_index(rows, self.factor_sizes), 1)
        return {"x": self.pictures.take(factors, rows), "factors": factors, "y": factors[:, 0], "index": here}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": batch["x"].float().mul_(1 / 255)}

    def to(self, device: torch.device) -> "SpriteRows":
        """The same split with its memory on `device`."""
        rows = torch.arange(len(self)) if self.rows is None else self.rows
        return SpriteRows(self.pictures.to(device), rows.to(device), self.factor_sizes)


class Rendered:
    """Renders each shape, scale and orientation once, on a canvas through which a window moves by whole pixels.

    Args:
        canvases: those of another renderer.
    """

    def __init__(self, canvases: Tensor | None = None) -> None:
        self.canvases = _canvases() if canvases is None else canvases  # [3 * 6 * 40, 95, 95]
        # all windows, as views that take no memory: [720, 32, 32, 64, 64]
        self.windows = self.canvases.unfold(1, SIDE, 1).unfold(2, SIDE, 1)

    def take(self, factors: Tensor, rows: Tensor) -> Tensor:
        shape, scale, orientation, x, y = factors.to(self.canvases.device).unbind(1)
        last = self.windows.shape[1] - 1  # the sprite moves against the window
        return self.windows[(shape * 6 + scale) * 40 + orientation, last - y, last - x].unsqueeze(1)

    def to(self, device: torch.device) -> "Rendered":
        return Rendered(self.canvases.to(device))


def _canvases() -> Tensor:
    """[3 * 6 * 40, 95, 95], 0 or 255: sprites around pixel 47."""
    # float64, so that the four turns of a square agree to the pixel
    centre = FIRST + 31
    v, u = torch.meshgrid(*[torch.arange(SIDE + 31, dtype=torch.float64) - centre] * 2, indexing="ij")
    canvases = torch.zeros(3, 6, 40, SIDE + 31, SIDE + 31, dtype=torch.uint8)
    for k, angle in enumerate(torch.arange(40, dtype=torch.float64) * (2 * math.pi / 40)):
        # the sprite's own axes, which turn clockwise on the screen
        a, b = angle.cos() * u + angle.sin() * v, angle.cos() * v - angle.sin() * u
        for i, scale in enumerate(torch.linspace(0.5, 1, 6, dtype=torch.float64)):
            for shape, inside in enumerate((_in_square, _in_ellipse, _in_heart)):
                canvases[shape, i, k] = inside(a / (SCALE * scale), b / (SCALE * scale)) * 255
    return canvases.flatten(0, 2)


# Shapes of area 1 around their centre of mass; a to the right, b downwards


def _in_square(a: Tensor, b: Tensor) -> Tensor:
    return torch.maximum(a.abs(), b.abs()) <= 0.5


def _in_ellipse(a: Tensor, b: Tensor) -> Tensor:
    # half axes 2r and r: area 2 pi r^2
    return a**2 / 4 + b**2 <= 1 / (2 * math.pi)


def _in_heart(a: Tensor, b: Tensor) -> Tensor:
    # (p^2 + q^2 - 1)^3 = p^2 q^3, q upwards, encloses 3.66197 around (0, 0.29348): both by quadrature
    p, q = a * math.sqrt(3.66197), 0.29348 - b * math.sqrt(3.66197)
    return (p**2 + q**2 - 1) ** 3 <= p**2 * q**3


class Packed:
    """Pictures in memory with eight pixels a byte: 0.4 GB instead of 3.

    Args:
        bits: [N, 512] uint8, the first pixel in the highest bit.
    """

    def __init__(self, bits: Tensor) -> None:
        self.bits = bits
        byte = torch.arange(256, device=bits.device).unsqueeze(1)
        self.bytes = (byte >> torch.arange(7, -1, -1, device=bits.device) & 1).mul(255).to(torch.uint8)  # [256, 8]

    def take(self, factors: Tensor, rows: Tensor) -> Tensor:
        bits = self.bits.index_select(0, rows.to(self.bits.device))
        return self.bytes[bits.int()].view(-1, 1, SIDE, SIDE)

    def to(self, device: torch.device) -> "Packed":
        return Packed(self.bits.to(device))


def read_packed(path: Path, n_rows: int) -> Tensor:
    """'imgs' of the official file, [n_rows, 64, 64] of 0 and 1, eight pixels a byte: [n_rows, 512] uint8.

    Raises:
        UserError: the file is truncated, has no such array, or its shape or a value is another.
    """
    bits = np.empty((n_rows, SIDE * SIDE // 8), np.uint8)
    try:
        with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            if (shape, fortran, dtype) != ((n_rows, SIDE, SIDE), False, np.uint8):
                raise broken(path, f"'imgs' has shape {shape} and type {dtype}, not {(n_rows, SIDE, SIDE)} and uint8")
            for start in range(0, n_rows, 4096):  # never all 3 GB at once
                stop = min(start + 4096, n_rows)
                content = file.read((stop - start) * SIDE * SIDE)
                pixels = np.frombuffer(content, np.uint8).reshape(stop - start, SIDE * SIDE)
                if pixels.max() > 1:
                    raise broken(path, f"'imgs' has the value {pixels.max()}, not only 0 and 1")
                bits[start:stop] = np.packbits(pixels, axis=1)
            file.read(1)  # the archive checks its checksum at the end
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError, zlib.error) as error:
        raise broken(path, str(error).strip("'\"") or type(error).__name__) from error
    return torch.from_numpy(bits)
