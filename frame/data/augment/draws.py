"""What augmentations share: one draw for each picture of a batch, and the checks of their arguments."""

from collections.abc import Sequence

import torch
from torch import Tensor

from frame.common.errors import UserError


def uniform(n: int, low: float, high: float, like: Tensor, generator: torch.Generator) -> Tensor:
    """[n] draws from U[low, high), of the type and on the device of `like`."""
    return low + (high - low) * torch.rand(n, generator=generator, device=like.device, dtype=like.dtype)


def chosen(x: Tensor, changed: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Each picture of `changed` with probability p, else that of x, exactly; both [B, C, H, W]."""
    if p == 1:
        return changed
    which = (uniform(len(x), 0, 1, x, generator) < p).to(x.dtype)
    return torch.lerp(x, changed, which.view(-1, 1, 1, 1))  # several times as quick as `where` on a CPU


def check_pictures(x: Tensor, name: str, channels: Sequence[int] = ()) -> None:
    """Raises UserError unless x is [B, C, H, W], with one of these numbers of channels if there are any."""
    if x.dim() != 4:
        raise UserError(
            f"{name} needs pictures [B, C, H, W], not rows {list(x.shape)}: leave it out, or use data that has pictures"
        )
    if channels and x.shape[1] not in channels:
        listed = " or ".join(map(str, channels))
        other = "for grey ones take data=views_grey"
        raise UserError(f"{name} needs pictures of {listed} channels, not {x.shape[1]}: {other}")


def probability(p: float) -> float:
    """Returns p. Raises UserError unless it is in [0, 1]."""
    if not 0 <= p <= 1:
        raise UserError(f"p={p}: a probability lies between 0 and 1")
    return float(p)


def interval(name: str, ends: Sequence[float], example: str, low: float = 0.0) -> tuple[float, float]:
    """The ends of a range above `low`. Raises UserError unless they are two numbers in their order."""
    if len(ends) != 2 or not low < ends[0] <= ends[1]:
        raise UserError(f"{name}={list(ends)}: give the smallest and the largest, such as {example}")
    return float(ends[0]), float(ends[1])
