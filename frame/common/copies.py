"""Copies of modules that share memory with them."""

from copy import deepcopy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def with_same_weights(module: M) -> M:
    """A copy whose parameters lie in the memory of the module's own. Its gradients and buffers are its own."""
    return deepcopy(module, {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in module.parameters()})
