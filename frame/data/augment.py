"""Random changes of whole batches of pictures: [B, C, H, W] and a generator in, [B, C, H, W] out.

Each picture has its own noise, all from the generator, which is on the pictures' device.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError, at_least


def uniform(n: int, low: float, high: float, like: Tensor, generator: torch.Generator) -> Tensor:
    """[n] draws from U[low, high), of the type and on the device of `like`."""
    return low + (high - low) * torch.rand(n, generator=generator, device=like.device, dtype=like.dtype)


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
        if x.dim() != 4:
            raise UserError(f"Affine needs pictures [B, C, H, W], not rows {list(x.shape)}: use data that has pictures")
        n, _, height, width = x.shape
        a = uniform(n, -self.rotation, self.rotation, x, generator)
        k = uniform(n, -self.shear, self.shear, x, generator).tan()
        s = uniform(n, *self.scale, x, generator)
        t = uniform(2 * n, -self.shift, self.shift, x, generator).view(n, 2, 1) * 2  # a side is 2 long in a grid
        # The source of a point p' of the result: p = K(-k) R(-a) (p' - t) / s
        cos, sin = a.cos() / s, a.sin() / s
        # A grid's units are half sides, which differ between the axes if a picture is not square
        above = torch.stack([cos - k * sin, (sin + k * cos) * (height / width)], dim=-1)
        below = torch.stack([-sin * (width / height), cos], dim=-1)
        inverse = torch.stack([above, below], dim=1)  # [B, 2, 2]
        grid = F.affine_grid(torch.cat([inverse, -inverse @ t], dim=-1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class Drop(nn.Module):
    """Each pixel, in all of its channels, is set to 0 with probability p.

    Raises:
        UserError: p is not in [0, 1].
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise UserError(f"p={p}: a probability lies between 0 and 1")
        self.p = p

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        kept = torch.rand(len(x), 1, *x.shape[2:], generator=generator, device=x.device) >= self.p
        return x * kept


class Rotation(Affine):
    """Each picture rotated about its centre by U[-degrees, degrees]. Pixels from outside are black.

    Raises:
        UserError: degrees < 0; from `forward`, rows are not pictures.
    """

    def __init__(self, degrees: float) -> None:
        super().__init__(degrees, 0, (1, 1), 0)


class Noise(nn.Module):
    """Adds N(0, std^2) to every value, and clips to [0, 1].

    Raises:
        UserError: std < 0.
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        at_least(0, std=std)
        self.std = float(std)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return (x + self.std * noise).clamp(0, 1)


class Uniform(nn.Module):
    """Replaces every value by U[0, 1)."""

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)


class Shuffle(nn.Module):
    """Permutes the pixels of each picture, in an order of its own; the channels of a pixel stay together."""

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        flat = x.unsqueeze(1) if x.dim() == 2 else x.flatten(2)  # [B, C, pixels]
        order = torch.rand(len(x), 1, flat.shape[2], generator=generator, device=x.device).argsort(2)
        return flat.gather(2, order.expand_as(flat)).view_as(x)
