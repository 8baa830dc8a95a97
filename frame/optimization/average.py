"""An exponential moving average of the weights."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.ranks import own_part


class Average(nn.Module):
    """A copy of a model whose weights follow the model's: m = m + (1 - decay) (w - m), and m = w at the first update.

    Buffers are the model's. As `torch.optim.swa_utils.AveragedModel` with `use_buffers=False`, but no update waits for
    the device: the host knows whether it is the first.

    Args:
        model: on its device.
        decay: in [0, 1).
    """

    n_averaged: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.module = deepcopy(model).requires_grad_(False)
        self.begins = True  # the next update is the first
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        self.register_buffer("n_averaged", torch.tensor(0, device=device))

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """One update."""
        mine: list[Tensor] = [own_part(weight) for weight in self.module.parameters()]
        theirs: list[Tensor] = [own_part(weight) for weight in model.parameters()]
        if mine and self.begins:
            torch._foreach_copy_(mine, theirs)
        elif mine:
            torch._foreach_lerp_(mine, theirs, 1 - self.decay)
        for own, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            own_part(own).copy_(own_part(buffer))
        self.n_averaged += 1
        self.begins = False

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        found = super().load_state_dict(*args, **kwargs)
        self.begins = not bool(self.n_averaged)
        return found
