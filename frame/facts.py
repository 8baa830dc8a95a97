"""What a run costs and how large its model is: counted once, before it starts."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from frame.data.base import Batch, DataSet, whole_batch
from frame.evaluation.base import evaluating
from frame.models.base import AdversarialModel, Model

ROWS = 4


def facts(model: Model, data: DataSet, n_adversary_steps: int = 1) -> dict[str, Any]:
    """'parameters' that are trained, those of the encoder where the model has one, and 'flops_per_sample'.

    The latter are the floating-point operations of matrix products and convolutions, forward and backward, for one row
    in one iteration; all else is left out, as is usual.

    Args:
        model: stays as it is.
        data: a few rows of `train` are passed through a copy.
        n_adversary_steps: of the adversary for one of the others, where there is one.
    """
    encoder = getattr(model, "encoder", None)
    return {
        "parameters": _count(model),
        "encoder_parameters": _count(encoder) if isinstance(encoder, nn.Module) else None,
        "flops_per_sample": _flops(deepcopy(model), data, n_adversary_steps),
    }


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _flops(model: Model, data: DataSet, n_adversary_steps: int) -> float:
    train = data.training()
    n_rows = min(ROWS, len(train))
    batch = whole_batch(train, torch.arange(n_rows))

    def counted(loss: Callable[[Batch], dict[str, Tensor]]) -> float:
        with evaluating(model), torch.enable_grad(), Counter() as counter:
            value = loss(batch)["loss"]
            if value.requires_grad:
                value.backward()
        return counter.total

    total = counted(model)
    if isinstance(model, AdversarialModel):
        # of one iteration: a step of the adversary each, one of the others every n_adversary_steps
        total = total / n_adversary_steps + counted(model.compute_adversarial_loss)
    return total / n_rows


class Counter(TorchDispatchMode):
    """Adds up what torch says of its operations; unlike torch's own counter it follows a gradient of a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out
