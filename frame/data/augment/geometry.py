"""Augmentations that move pixels, or mix those beside each other."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.data.augment.draws import check_pictures, chosen, interval, probability, uniform


class Affine(nn.Module):
    """Each picture rotated, sheared, scaled and shifted about its centre, bilinearly. Pixels from outside are black.

    A point p, in pixels from the centre with y downwards, moves to s R(a) K(k) p + t, where R(a) rotates by
    a ~ U[-rotation, rotation], K(k) = [[1, -tan k], [0, 1]] shears along x only, k ~ U[-shear, shear],
    s ~ U[scale[0], scale[1]], and t moves along each axis by U[-shift, shift] of that side.

    It differs from torchvision's `RandomAffine(rotation, (shift, shift), scale, shear)` in two ways: shifts are not
    rounded to whole pixels, and values are interpolated, while its default takes the nearest pixel.

    Args:
        rotation: largest angle, degrees.
        shift: largest shift, as a share of the side.
        scale: smallest and largest factor.
        shear: largest angle, degrees, below 90.

    Raises:
        UserError: a value is out of range; from `forward`, rows are not pictures.
    """

    def __init__(self, rotation: float, shift: float, scale: Sequence[float], shear: float) -> None:
        super().__init__()
        at_least(0, rotation=rotation, shift=shift, shear=shear)
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise UserError(f"scale={list(scale)}: give the smallest and the largest factor, such as [0.9, 1.1]")
        if shear >= 90:
            raise UserError(f"shear={shear}: it must be below 90 degrees")
        self.rotation, self.shift, self.shear = math.radians(rotation), float(shift), math.radians(shear)
        self.scale = (float(scale[0]), float(scale[1]))

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures(x, "Affine")
        n = len(x)
        angle = uniform(n, -self.rotation, self.rotation, x, generator)
        shear = uniform(n, -self.shear, self.shear, x, generator)
        scale = uniform(n, *self.scale, x, generator)
        shift = uniform(2 * n, -self.shift, self.shift, x, generator).view(n, 2)
        return affine(x, angle, shear, scale, shift)


def affine(x: Tensor, angle: Tensor, shear: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """`Affine` with given parameters: angle a and shear k in radians, factor s, each [B]; shift t [B, 2], (x, y).

    The shift is a share of the side.
    """
    height, width = x.shape[2:]
    k, t = shear.tan(), 2 * shift.unsqueeze(2)  # a side is 2 long in a grid
    # The source of a point p' of the result: p = K(-k) R(-a) (p' - t) / s
    cos, sin = angle.cos() / scale, angle.sin() / scale
    # A grid's units are half sides, which differ between the axes if a picture is not square
    above = torch.stack([cos - k * sin, (sin + k * cos) * (height / width)], dim=-1)
    below = torch.stack([-sin * (width / height), cos], dim=-1)
    inverse = torch.stack([above, below], dim=1)  # [B, 2, 2]
    grid = F.affine_grid(torch.cat([inverse, -inverse @ t], dim=-1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class Rotation(Affine):
    """Each picture rotated about its centre by U[-degrees, degrees]. Pixels from outside are black.

    Raises:
        UserError: degrees < 0; from `forward`, rows are not pictures.
    """

    def __init__(self, degrees: float) -> None:
        super().__init__(degrees, 0, (1, 1), 0)


class RandomResizedCrop(nn.Module):
    """A random part of each picture, resized bilinearly to the picture's own size or another one.

    Its area is U[scale] of the picture's, and its width over height is e^u, u ~ U[log ratio]; both are rounded to whole
    pixels. Ten pairs are drawn and the first that fits is taken; if none does, the largest part in the centre whose
    ratio is in the range. The place is uniform. Szegedy et al. 2015 (1409.4842), section 6, drew crops in this way;
    Chen et al. 2020 (2002.05709), appendix A, take these ranges.

    It draws like torchvision's `RandomResizedCrop`. If the crop is larger than `size`, it is not smoothed before it
    shrinks, while torchvision smooths it.

    Args:
        scale: smallest and largest area, as a share of the picture's.
        ratio: smallest and largest width over height.
        size: sides of the result, [height, width] or a number for both; None: those of the picture.
        p: probability of a crop; other pictures are resized as a whole.

    Raises:
        UserError: a value is out of range; from `forward`, rows are not pictures.
    """

    tries = 10

    def __init__(
        self,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        size: int | Sequence[int] | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale, self.ratio = interval("scale", scale, "[0.08, 1.0]"), interval("ratio", ratio, "[0.75, 1.33]")
        if self.scale[1] > 1:
            raise UserError(f"scale={list(scale)}: a crop's share of the area is at most 1")
        sides = [size, size] if isinstance(size, int) else size
        if sides is not None and (len(sides) != 2 or any(not isinstance(side, int) or side < 1 for side in sides)):
            raise UserError(f"size={size}: give the height and the width in pixels, such as [32, 32], or null")
        self.size, self.p = sides, probability(p)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures(x, "RandomResizedCrop")
        height, width = x.shape[2:]
        box = self.boxes(x, generator)
        if self.p < 1:
            cropped = (uniform(len(x), 0, 1, x, generator) < self.p).to(x.dtype).unsqueeze(1)
            whole = torch.stack([torch.full_like(box[:, 0], end) for end in (0, 0, height, width)], 1)
            box = torch.lerp(whole, box, cropped)
        return resized_crop(x, box, self.size or (height, width))

    def boxes(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Top, left, height and width of a crop for each picture: [B, 4], whole numbers of the type of x."""
        n, height, width = len(x), *x.shape[2:]
        shape = (n, self.tries)
        area = uniform(n * self.tries, *self.scale, x, generator).view(shape) * (height * width)
        logs = (math.log(self.ratio[0]), math.log(self.ratio[1]))
        ratio = uniform(n * self.tries, *logs, x, generator).view(shape).exp()
        w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
        first = fits.int().argmax(1, keepdim=True)  # the first of equal ones
        # For those of which none fits: the largest one of a ratio in the range
        w_most = min(width, max(1, round(height * self.ratio[1])))
        h_most = min(height, max(1, round(width / self.ratio[0])))
        found = fits.any(1).to(x.dtype)
        h = h_most + found * (h.gather(1, first)[:, 0] - h_most)
        w = w_most + found * (w.gather(1, first)[:, 0] - w_most)
        places = uniform(2 * n, 0, 1, x, generator).view(2, n)
        top = self._place(places[0], found, height - h)
        return torch.stack([top, self._place(places[1], found, width - w), h, w], 1)

    @staticmethod
    def _place(u: Tensor, found: Tensor, free: Tensor) -> Tensor:
        """One of 0 .. free, for u in [0, 1); the middle if no crop was found."""
        return (free / 2).floor() * (1 - found) + found * torch.minimum((u * (free + 1)).floor(), free)


def resized_crop(x: Tensor, box: Tensor, size: Sequence[int]) -> Tensor:
    """The box [B, 4] (top, left, height, width; pixels) of each picture, resized bilinearly: [B, C, *size].

    As `torch.nn.functional.interpolate` with `align_corners=False` does for one crop: points between the last pixels
    and the edge of the box have the value of the last pixels, not of those outside the box.
    """
    grids = []
    for i, (side, n_in) in enumerate(zip(size, x.shape[2:], strict=True)):
        start, length = box[:, i : i + 1], box[:, i + 2 : i + 3]
        pixels = torch.arange(side, device=x.device, dtype=x.dtype) + 0.5
        place = start + (length / side * pixels - 0.5).clamp_min(0).minimum(length - 1)  # [B, side], from 0
        grids.append((2 * place + 1) / n_in - 1)
    n, (height, width) = len(x), size
    down, right = grids
    grid = torch.stack([right.unsqueeze(1).expand(n, height, width), down.unsqueeze(2).expand(n, height, width)], -1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


class HorizontalFlip(nn.Module):
    """Each picture mirrored, left to right, with probability p.

    Raises:
        UserError: p is not in [0, 1]; from `forward`, rows are not pictures.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = probability(p)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures(x, "HorizontalFlip")
        return chosen(x, x.flip(-1), self.p, generator)


class GaussianBlur(nn.Module):
    """Each picture smoothed by a Gaussian of its own width, sigma ~ U[sigma], in pixels, with probability p.

    The window is the odd number of pixels nearest to `window` of the smaller side, at least 3; pictures are mirrored
    at their edges. Chen et al. 2020 (2002.05709), appendix A: a tenth of the side, sigma from 0.1 to 2, p = 0.5.

    Args:
        sigma: smallest and largest standard deviation, pixels.
        window: width of the window, as a share of the smaller side.
        p: probability.

    Raises:
        UserError: a value is out of range; from `forward`, rows are not pictures, or are smaller than the window.
    """

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), window: float = 0.1, p: float = 0.5) -> None:
        super().__init__()
        self.sigma, self.p = interval("sigma", sigma, "[0.1, 2.0]"), probability(p)
        if not 0 < window <= 1:
            raise UserError(f"window={window}: it is a share of the smaller side, such as 0.1")
        self.window = float(window)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures(x, "GaussianBlur")
        smaller = min(x.shape[2:])
        pixels = max(3, 2 * math.floor(self.window * smaller / 2) + 1)
        if pixels // 2 >= smaller:
            raise UserError(f"GaussianBlur needs pictures of more than {pixels // 2} pixels a side: leave it out")
        return chosen(x, blurred(x, uniform(len(x), *self.sigma, x, generator), pixels), self.p, generator)


def blurred(x: Tensor, sigma: Tensor, pixels: int) -> Tensor:
    """Pictures smoothed by Gaussians of width sigma [B] over a window of an odd number of pixels, mirrored at edges."""
    half = pixels // 2
    offsets = torch.arange(-half, half + 1, device=x.device, dtype=x.dtype)
    kernel = (-0.5 * (offsets / sigma.unsqueeze(1)).square()).softmax(1)  # [B, pixels]
    down, right = (_bands(kernel, offsets, side) for side in x.shape[2:])
    return torch.einsum("bij,bcjk,blk->bcil", down, x, right)


def _bands(kernel: Tensor, offsets: Tensor, side: int) -> Tensor:
    """Matrices [B, side, side] that smooth a row of pixels, mirrored at its ends without repeating the last one."""
    places = torch.arange(side, device=kernel.device, dtype=kernel.dtype)
    sources = (places.unsqueeze(1) + offsets).abs()
    sources = (side - 1) - ((side - 1) - sources).abs()  # [side, pixels]
    reads = (sources.unsqueeze(-1) == places).to(kernel.dtype)  # [side, pixels, side]
    return torch.einsum("bk,ikj->bij", kernel, reads)
