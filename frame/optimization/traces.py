"""Whether the operations of a step can be repeated without Python: a trace of it, on a device that computes nothing."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from frame.common.faults import place_of
from frame.common.seeds import random_states
from frame.data.base import Batch, mapped

META = torch.device("meta")
READS = "it reads a value of a tensor, or makes a shape from one"


class Unfit(Exception):
    """A step does something that cannot be repeated."""


class _Autocast(torch.autocast):
    """torch.autocast, which itself refuses the device 'meta'."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == META.type else device_type, *args, **kwargs)


class _Host(TorchDispatchMode):
    """Refuses values that come from the host or go there, which a repeated step would not compute anew."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise Unfit(READS)
        out = func(*args, **(kwargs or {}))
        devices = {
            tensor.device for tensor in tree_leaves((args, kwargs, out)) if isinstance(tensor, Tensor) and tensor.dim()
        }
        if META in devices and len(devices) > 1:
            raise Unfit("it copies a tensor from the CPU: make it on the device of the batch")
        return out


@contextmanager
def tracing() -> Iterator[None]:
    """In this context, tensors on the device 'meta' have shapes and no values; what needs a value raises."""
    whole = torch.autocast
    torch.autocast = _Autocast  # type: ignore[misc]
    try:
        with _Host():
            yield
    finally:
        torch.autocast = whole  # type: ignore[misc]


class _Iteration:
    """Stands for the number of an iteration, on which nothing may depend."""

    def _used(self, *args: object) -> Any:
        raise Unfit("after_update depends on the number of the iteration, which a graph would keep")

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __int__ = __index__ = __float__ = __str__ = _used
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __truediv__ = __floordiv__ = _used
    __hash__ = object.__hash__


class _Watched(dict[str, float]):
    """Counters that a step may not read."""

    def __getitem__(self, key: str) -> float:
        raise Unfit(f"its step reads counters['{key}'], and its phase() does not say what depends on it")


def on_meta(optimization: Any) -> Any:
    """A copy of a procedure, its optimizers and its averages on the device 'meta'; no value is copied."""
    shared = ("_trainer", "_loader", "_agreement", "execution", "recent", "watchers", "events", "clock")
    memo: dict[int, Any] = {id(value): value for name in shared if (value := getattr(optimization, name, None))}
    for tensor in tensors_of(optimization).values():
        memo[id(tensor)] = _twin(tensor)
    for player in optimization.players.values():
        for parameter in player.parameters:
            if parameter.grad is not None:
                memo[id(parameter.grad)] = parameter.grad.to(META)
        for group in player.optimizer.param_groups:
            memo |= {id(value): value.to(META) for value in group.values() if isinstance(value, Tensor)}
    copy = deepcopy(optimization, memo)
    for player, original in zip(copy.players.values(), optimization.players.values(), strict=True):
        for mine, its in zip(player.parameters, original.parameters, strict=True):
            mine.grad = None if its.grad is None else its.grad.to(META)
    return copy


def _twin(tensor: Tensor) -> Tensor:
    twin = tensor.detach().to(META)
    return nn.Parameter(twin, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else twin


def tensors_of(optimization: Any) -> dict[str, Tensor]:
    """Every tensor that a step may write, by name: the model's, its average's and its optimizers'."""
    found: dict[str, Tensor] = {}
    for top, module in (("model", optimization.model), *(("average", one) for one in optimization._averaged)):
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            found[f"{top}.{name}"] = tensor
    for name, player in optimization.players.items():
        for place, parameter in player.named.items():
            for key, value in player.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    found[f"the optimizer's {key} of {place} ({name})"] = value
    return found


def shapes_of(batch: Batch) -> Batch:
    """A batch of the same shapes on the device 'meta'."""
    return mapped(batch, lambda tensor: torch.empty_like(tensor, device=META))


def why_not(optimization: Any, batch: Batch) -> str:
    """Why the step on this batch cannot be repeated without Python; '' if nothing is known against it.

    A copy takes the step on the device 'meta'. Steps of torch's own optimizers are left out.

    Args:
        optimization: in the middle of an iteration: its counters of accumulated batches are set.
        batch: of which only shapes matter.
    """
    return refusal(lambda: _step(optimization, batch))


def _step(optimization: Any, batch: Batch) -> None:
    copy = on_meta(optimization)
    for player in copy.players.values():
        if type(player.optimizer).__module__.startswith("torch.optim"):
            player.optimizer.step = lambda: None
    if not _says_its_phase(type(optimization)):
        copy.counters = _Watched(copy.counters)
    copy._backward = Tensor.backward
    before, numbers, shapes = tensors_of(copy), _numbers(copy), shapes_of(batch)
    with tracing():
        copy.step(shapes)
        if copy.complete:
            copy.follow(_Iteration())
    now = tensors_of(copy)
    for name, tensor in before.items():
        if now.get(name) is not tensor:
            raise Unfit(f"{name} is replaced: write into it, as in .copy_()")
    counted = _numbers(copy)
    for name in counted:
        if counted[name] != numbers.get(name):
            raise Unfit(f"{name} changes on the host: make it a buffer, and write into it")


def _numbers(copy: Any) -> dict[str, Any]:
    """What a procedure, its modules and its optimizers hold as plain values, by name."""
    parts = {
        **{name or type(copy).__name__: part for name, part in copy.named_modules()},
        **{f"the optimizer of {name}": player.optimizer for name, player in copy.players.items()},
    }
    return {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key, value in vars(part).items()
        if isinstance(value, bool | int | float | str)
    }


def refusal(traced: Callable[[], object]) -> str:
    """Why a function that traces itself cannot be repeated; '' if it runs. Random states are as before."""
    with random_states():
        states = _random_states()
        try:
            traced()
        except Exception as error:  # whatever a model or an augmentation raises without values
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            if "meta" in reason.lower():
                reason = READS
            place = place_of(error)
            return f"{reason} ({place})" if place else reason
        return "" if states == _random_states() else "it draws noise on the CPU: draw it on the device of the batch"


def _random_states() -> tuple[str, ...]:
    """The states of Python's, numpy's and torch's generators on the CPU."""
    return str(random.getstate()), str(np.random.get_state()), str(torch.default_generator.get_state().tolist())


def _says_its_phase(procedure: type) -> bool:
    """Whether `phase` is defined with `step` or after it."""
    owners = [next(i for i, c in enumerate(procedure.__mro__) if name in vars(c)) for name in ("phase", "step")]
    return owners[0] <= owners[1]
