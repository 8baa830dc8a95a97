"""Augmentations of other libraries, with the noise of a generator."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.common.seeds import random_states


class Library(nn.Module):
    """A transform of kornia, of torchvision, or any callable of pictures, with its noise from the generator.

    Such transforms draw from the global states of torch, numpy and Python. These are seeded by a number from the
    generator while the transform runs, and restored. Reading that number waits for the device, as most of these
    transforms do. `execution=compiled` leaves it as it is.

        _target_: frame.data.augment.Library
        change: {_target_: kornia.augmentation.RandomPerspective, p: 0.5}

    Args:
        change: takes pictures [B, C, H, W] in [0, 1] and returns B pictures.
        each: whether it is given one picture [C, H, W] at a time, for transforms that draw their parameters once a
            call, as all of torchvision's do.

    Raises:
        UserError: `change` cannot be called; from `forward`, it does not return a picture of floats for each.
    """

    def __init__(self, change: Callable[..., Any], each: bool = False) -> None:
        super().__init__()
        if not callable(change):
            raise UserError(f"Library: change={change!r:.60} cannot be called: name a transform under _target_")
        self.change, self.each = change, each
        # not as a decorator, which would import the compiler in the loader's workers
        self.forward = torch.compiler.disable(self.forward)  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "forward"}

    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with random_states(x.device) as seed_all, torch.no_grad():
            seed_all(seed)
            found = torch.stack([self.change(picture) for picture in x]) if self.each else self.change(x)
        name = getattr(self.change, "__name__", type(self.change).__name__)
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape[:1] != x.shape[:1]:
            what = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"Library: {name} returns {what}, and must return floats [{len(x)}, ...]")
        return found
