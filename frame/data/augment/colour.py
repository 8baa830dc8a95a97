"""Augmentations that change the values of pixels, in [0, 1], and not their places."""

import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.augment.draws import check_pictures, chosen, probability, uniform

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey, ITU-R BT.601


class ColourJitter(nn.Module):
    """Brightness, contrast, saturation and hue of each picture changed, in this order, with probability p.

    With v ~ U[max(0, 1 - value), 1 + value] for each of the first three:

        brightness  v x
        contrast    v x + (1 - v) m, where m is the mean grey value of the picture
        saturation  v x + (1 - v) grey(x)
        hue         the hue of HSV moved by U[-hue, hue] of a whole turn

    Each result is clipped to [0, 1]. Chen et al. 2020 (2002.05709), appendix A, with 0.8 s, 0.8 s, 0.8 s, 0.2 s and
    p = 0.8; s = 0.5 for CIFAR-10 (appendix B.9). Their order, and torchvision's, is drawn anew for each picture.

    Args:
        brightness, contrast, saturation: largest change, at least 0.
        hue: largest change in turns, 0 to 0.5.
        p: probability.

    Raises:
        UserError: a value is out of range; from `forward`, pictures have neither 1 nor 3 channels, or 1 channel while
            saturation or hue are not 0.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        p: float = 0.8,
    ) -> None:
        super().__init__()
        changes = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        for name, value in changes.items():
            if not 0 <= value < float("inf"):
                raise UserError(f"{name}={value}: must be at least 0")
        if not 0 <= hue <= 0.5:
            raise UserError(f"hue={hue}: must be from 0 to 0.5 turns")
        self.ranges = [(max(0.0, 1 - value), 1 + float(value)) for value in changes.values()]
        self.hue, self.p = float(hue), probability(p)
        self.coloured = saturation > 0 or hue > 0

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures(x, "ColourJitter with saturation or hue" if self.coloured else "ColourJitter", self.channels)
        brightness, contrast, saturation, turns = (
            uniform(len(x), low, high, x, generator) for low, high in (*self.ranges, (-self.hue, self.hue))
        )
        return chosen(x, jittered(x, brightness, contrast, saturation, turns), self.p, generator)

    @property
    def channels(self) -> tuple[int, ...]:
        return (3,) if self.coloured else (1, 3)


def jittered(x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, turns: Tensor) -> Tensor:
    """`ColourJitter` with given factors and turns [B]; pictures of one channel have no saturation and no hue."""
    x = _blended(x, brightness, None)
    x = _blended(x, contrast, grey(x).mean((2, 3), keepdim=True))
    if x.shape[1] == 1:
        return x
    return turned(_blended(x, saturation, grey(x)), turns)


def _blended(x: Tensor, factor: Tensor, other: Tensor | None) -> Tensor:
    """factor x + (1 - factor) other, clipped to [0, 1]; other = 0 if None."""
    factor = factor.view(-1, 1, 1, 1)
    x = x * factor
    return (x if other is None else x.add_(other * (1 - factor))).clamp_(0, 1)


def grey(x: Tensor) -> Tensor:
    """The grey values of pictures of 3 channels, [B, 1, H, W]; one channel is grey already."""
    if x.shape[1] == 1:
        return x
    red, green, blue = x.unbind(1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).unsqueeze(1)


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] with their hue (of HSV) moved by turns [B]; value and saturation stay."""
    red, green, blue = x.unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    # hue = 6 turns + (g - b) / chroma if red is highest, 2 + (b - r) / chroma if green is, else 4 + (r - g) / chroma.
    # Masks are floats, made in place: on a CPU `where` takes 20 times as long as `lerp`, and booleans 4 times as long.
    is_red, is_green = high.clone().eq_(red), high.clone().eq_(green)
    hue = torch.lerp((red - green).add_(chroma, alpha=4), (blue - red).add_(chroma, alpha=2), is_green)
    hue = torch.lerp(hue, green - blue, is_red).div_(chroma.clamp(min=1e-8))
    hue = hue.add_(6 * turns.view(-1, 1, 1))
    hue = hue.sub_((hue / 6).floor_().mul_(6))  # in [0, 6)
    # A channel rises and falls linearly within 2 of its own hue: red 0 = 6, green 2, blue 4
    shares = [(hue - 3).abs_().sub_(1), (hue - 2).abs_().neg_().add_(2), (hue - 4).abs_().neg_().add_(2)]
    return torch.stack([low.addcmul(chroma, share.clamp_(0, 1)) for share in shares], 1)


class Grayscale(nn.Module):
    """Each picture of 3 channels made grey, in all three, with probability p.

    Raises:
        UserError: p is not in [0, 1]; from `forward`, pictures have another number of channels.
    """

    def __init__(self, p: float = 0.2) -> None:
        super().__init__()
        self.p = probability(p)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures(x, "Grayscale", (3,))
        return chosen(x, grey(x).expand_as(x), self.p, generator)


class Solarize(nn.Module):
    """Values of at least `threshold` become 1 - x, in each picture with probability p.

    Grill et al. 2020, "BYOL" (2006.07733), appendix B.

    Raises:
        UserError: a number is not in [0, 1]; from `forward`, rows are not pictures.
    """

    def __init__(self, threshold: float = 0.5, p: float = 0.2) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise UserError(f"threshold={threshold}: values of pictures lie between 0 and 1")
        self.threshold, self.p = float(threshold), probability(p)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        check_pictures(x, "Solarize")
        return chosen(x, solarized(x, self.threshold), self.p, generator)


def solarized(x: Tensor, threshold: float | Tensor) -> Tensor:
    """1 - x where x >= threshold (a number, or one that broadcasts to x), else x."""
    return torch.lerp(x, 1 - x, x.clone().ge_(threshold))
