"""Augmentations that draw pixels anew, drop them or move them to random places."""

import torch
from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.augment.draws import probability


class Drop(nn.Module):
    """Each pixel, in all of its channels, is set to 0 with probability p.

    Raises:
        UserError: p is not in [0, 1].
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = probability(p)

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        kept = torch.rand(len(x), 1, *x.shape[2:], generator=generator, device=x.device) >= self.p
        return x * kept


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
