"""LARS, an optimizer for large batches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from frame.common.errors import UserError, at_least


class LARS(Optimizer):
    """Momentum with a learning rate for each tensor of weights, in proportion to the weights' norm.

    You et al. 2017, "Large batch training of convolutional networks" (1708.03888), eq. 6 and algorithm 1. For each
    tensor w with the gradient g,

        u = g + weight_decay w
        v = momentum v + lr trust (||w|| / ||u||) u
        w = w - v

    where the ratio is 1 / trust if a norm is 0. The norm of the decayed gradient stands below, as in the code of SimCLR
    (2002.05709); the paper has ||g|| + weight_decay ||w||. Biases and normalisations are usually left out:

        rules: {no_decay: {kind: norms_and_biases, weight_decay: 0.0, adapt: false}}

    Args:
        params: parameters, or groups of them.
        lr: learning rate, such as 0.3 for 256 rows in SimCLR.
        momentum: in [0, 1).
        weight_decay: at least 0.
        trust: eta, above 0.
        adapt: whether the rate depends on norms; if not, v = momentum v + lr u.

    Raises:
        UserError: a value is out of range.
    """

    capturable = True  # lr and weight_decay may be tensors

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        adapt: bool = True,
    ) -> None:
        at_least(0, lr=lr, weight_decay=weight_decay)
        if not 0 <= momentum < 1:
            raise UserError(f"momentum={momentum}: it lies in [0, 1), such as 0.9")
        if not trust > 0:
            raise UserError(f"trust={trust}: it must be above 0, such as 0.001")
        if not isinstance(adapt, bool):
            raise UserError(f"adapt={adapt}: write true or false")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": adapt}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if weights:
                self._step(weights, group)
        return loss

    def _step(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        for w in weights:
            if not self.state[w]:
                self.state[w]["momentum_buffer"] = torch.zeros_like(w)
        velocities = [self.state[w]["momentum_buffer"] for w in weights]
        gradients = [w.grad for w in weights if w.grad is not None]
        updates = list(torch._foreach_mul(weights, group["weight_decay"]))
        torch._foreach_add_(updates, gradients)
        if group["adapt"]:
            norms = zip(torch._foreach_norm(weights), torch._foreach_norm(updates), strict=True)
            # no value is read, so that no step waits for the device
            ratios = [torch.where((w > 0) & (u > 0), group["trust"] * w / u, 1.0) for w, u in norms]
            updates = list(torch._foreach_mul(updates, ratios))
        torch._foreach_mul_(updates, group["lr"])
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, updates)
        torch._foreach_sub_(weights, velocities)
