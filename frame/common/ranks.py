"""Processes that train one model together, each a rank: what they share."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

_alone = 0  # contexts of `alone` that are open; a plain number, so that compiled code can read it


@contextmanager
def alone() -> Iterator[None]:
    """Within this context the functions below share nothing, because other ranks may be doing something else."""
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def several() -> bool:
    """Whether several processes train together, and share what they compute now."""
    return distributed.is_available() and distributed.is_initialized() and _alone == 0


def lost_others(error: BaseException) -> bool:
    """Whether an error says that another process of this run is gone."""
    network = distributed.is_available() and isinstance(error, distributed.DistNetworkError)
    return network or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))  # gloo has no class for it


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of x over all ranks, written into x."""
    if several():
        distributed.all_reduce(x)
    return x


def mean_over_ranks(x: Tensor) -> Tensor:
    """The mean of x over all ranks, written into x."""
    return sum_over_ranks(x).div_(distributed.get_world_size()) if several() else x


def log_mean_exp_over_ranks(x: Tensor) -> Tensor:
    """log of the mean of e^x over all ranks, a new tensor of x's shape without a gradient."""
    x = x.detach()
    if not several():
        return x
    each = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
    distributed.all_gather(each, x.contiguous())
    return torch.stack(each).logsumexp(0) - math.log(len(each))


def from_rank_0(x: Tensor) -> Tensor:
    """The first rank's x, written into x."""
    if several():
        distributed.broadcast(x, src=0)
    return x


def whole(x: Tensor) -> Tensor:
    """A parameter of which each rank holds a part, as a whole; x itself if it is. All ranks must call it together."""
    found: Tensor = x.full_tensor() if hasattr(x, "full_tensor") else x
    return found


def own_part(x: Tensor) -> Tensor:
    """What this rank holds of a parameter, in the same memory; x itself if it is whole."""
    found: Tensor = x.to_local() if hasattr(x, "to_local") else x
    return found


def in_parts(model: nn.Module) -> bool:
    """Whether each rank holds a part of the model's parameters."""
    return hasattr(model, "unshard")


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Within this context a model in parts computes. All ranks must enter it together, and compute equally often.

    Its own parameters are whole meanwhile, and those of its blocks while they compute.
    """
    if not in_parts(model):
        yield
        return
    parts: Any = model
    parts.unshard()
    try:
        yield
    finally:
        parts.reshard()


def all_rows(x: Tensor) -> Tensor:
    """The rows of all ranks in their order, [W * B, ...], for x [B, ...] of the same shape on each; x itself if alone.

    The gradient of a rank's rows is the sum of what all ranks' losses have for them. DDP averages gradients over ranks,
    so a loss of all rows, a mean over them that each rank computes, has the gradient that one process has.
    """
    if not several():
        return x
    found: Tensor = _AllRows.apply(x)
    return found


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        each = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(each, x.contiguous())
        ctx.rows = len(x)
        return torch.cat(each)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total, rank = sum_over_ranks(gradients[0].contiguous()), distributed.get_rank()
        return total[rank * ctx.rows : (rank + 1) * ctx.rows]
