"""Codes that cost no training: what a method has to beat before its own code is worth a word."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from frame.measures.distributions import Delta
from frame.mistakes import Mistake

FLOORS = ("pixels", "pca", "untrained")  # PCA is `frame.measures.pca.PCA`


class Pixels(nn.Module):
    """A model whose code is x."""

    def encode(self, x: Tensor) -> Delta:
        """x as it is, [B, D]."""
        return Delta(x.flatten(1))


def untrained(model: nn.Module, depends: Callable[[nn.Module], Tensor] | None = None, seed: int = 0) -> nn.Module:
    """A copy of `model` whose weights are drawn again, as they were before training.

    Every module with `reset_parameters` is reset, running statistics of normalisations included. Other parameters
    keep their values, which is a mistake where `depends` shows that the result rests on them.

    Args:
        model: stays as it is.
        depends: what will be used of the copy, on a few rows; None stands for all of it.
        seed: of the weights.

    Raises:
        Mistake: a parameter that is used belongs to a module without `reset_parameters`.
    """
    fresh = copy.deepcopy(model).requires_grad_(True)
    kept: dict[str, Tensor] = {}
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        # from the inside out, so that a module has the last word on its parts
        for name, module in reversed(list(fresh.named_modules())):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            else:
                kept |= {f"{name}.{key}".lstrip("."): p for key, p in module.named_parameters(recurse=False)}
    if kept and depends is not None:
        with torch.enable_grad():
            total = depends(fresh).sum()
            leaves = list(kept.values())
            used = (
                torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else [None] * len(leaves)
            )
        kept = {name: p for (name, p), gradient in zip(kept.items(), used, strict=True) if gradient is not None}
    if kept:
        raise Mistake(
            f"{type(model).__name__} has no untrained copy: give the module of {next(iter(kept))} a method "
            "reset_parameters(), or leave 'untrained' out of floors"
        )
    return fresh.requires_grad_(False)
