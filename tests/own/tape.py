"""Stands for a CUDA graph on the CPU: it records operations, and repeats them on the same tensors without Python."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from frame.optimization.captured import Captured

READS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "is_nonzero", "equal", "bincount")


class Tape(TorchDispatchMode):
    """What a function computes, from operation to operation, each with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        assert name not in READS, f"{name} reads the device"
        out = func(*args, **kwargs)
        returns = func._schema.returns
        fresh = [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        if returns and all(one.alias_info is not None for one in returns):
            if not any(one.is_write for one in (r.alias_info for r in returns)):
                return out  # a view, which stays where it is
            fresh = []
        if not name.startswith(("empty", "new_empty")):
            self.operations.append((func, args, kwargs, fresh))
        return out

    def capture(self, function: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        with self:
            return function()

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, fresh in self.operations:
            now = [tensor for tensor in tree_leaves(func(*args, **kwargs)) if isinstance(tensor, Tensor)]
            for tensor, value in zip(fresh, now if fresh else (), strict=True):
                tensor.copy_(value)


class OnTape(Captured):
    """Captured execution, with tapes instead of CUDA graphs."""

    def __init__(self) -> None:
        super().__init__()
        self.tapes: list[Tape] = []

    def check(self, device: torch.device) -> None:
        pass

    def graph(self) -> Tape:
        self.tapes.append(Tape())
        return self.tapes[-1]

    def warm_up(self, function: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        return function()
