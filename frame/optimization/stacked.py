"""Many members in one process, whose losses and gradients are computed as one program.

Each member is a run with its own optimization, callbacks and folder. It runs in a greenlet. Where a step asks a model
for its losses, the greenlet waits until the other members ask, too; then `vmap` computes all of them. So procedures,
rules, clipping, schedules, checkpoints and evaluations work as for a member alone.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from greenlet import getcurrent
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from frame.common.schedules import Coefficient
from frame.data.base import Batch, mapped, tensors_in
from frame.models.base import AdversarialModel, Model
from frame.optimization.execution import Eager, Steps

Losses = dict[str, Tensor]
# Functions whose result depends only on the shapes of their arguments and the generator
DRAWS = {
    torch.randn,
    torch.rand,
    torch.randint,
    torch.randperm,
    torch.randn_like,
    torch.rand_like,
    torch.randint_like,
}
DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d}  # a factor that depends only on them, times the input


def go_on_later() -> None:
    """Lets the other members go on; returns when it is this member's turn again."""
    getcurrent().parent.switch()


class Recording(TorchFunctionMode):
    """Notes what a function draws, as functions that draw the same again."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Callable[[], Tensor]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        drawn = function(*args, **kwargs)
        if kwargs.get("generator") is None and function in DRAWS | DROPOUTS:
            self.draws.append(partial(function, *map(_ones, args), **{k: _ones(v) for k, v in kwargs.items()}))
        return drawn


class Replaying(TorchFunctionMode):
    """Gives what was drawn before instead of drawing."""

    def __init__(self, drawn: Iterable[Tensor]) -> None:
        super().__init__()
        self.drawn = iter(drawn)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in DRAWS and kwargs.get("generator") is None:
            return next(self.drawn)
        if function in DROPOUTS:
            given: Tensor = kwargs["input"] if "input" in kwargs else args[0]
            return given * next(self.drawn)
        return function(*args, **kwargs)


def _ones(value: Any) -> Any:
    """Ones laid out as a tensor; any other value as it is."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device).fill_(1)


class _Whole(nn.Module):
    """Calls a method of a part of a model, so that `functional_call` replaces tensors of the whole model."""

    def __init__(self, model: nn.Module, path: str, method: str) -> None:
        super().__init__()
        self.model, self.path, self.method = model, path, method

    def forward(self, batch: Batch) -> Losses:
        part = self.model.get_submodule(self.path)
        losses: Losses = part(batch) if self.method == "forward" else getattr(part, self.method)(batch)
        return losses


class Program:
    """The losses and gradients of all members, for one part of the model and one shape of a batch.

    Args:
        model: a copy of a member's model.
        path, method: which part is asked, and how.
        trained: names of the parameters that get gradients.
        batch: a member's batch, which is tried once to see what is drawn.
    """

    def __init__(self, model: Model, path: str, method: str, trained: Sequence[str], batch: Batch) -> None:
        self.trained = tuple(trained)
        self.others = tuple(name for name, _ in model.named_parameters() if name not in set(trained))
        self.whole = _Whole(model, path, method)
        with Recording() as recording, torch.random.fork_rng(devices=()):
            deepcopy(self.whole)(batch)
        self.draws = recording.draws
        # "error": noise that is not drawn for each member by itself would depend on the width of the stack
        self._step = vmap(grad_and_value(self._loss, has_aux=True), randomness="error")
        self._traced: Callable[..., Any] | None = None

    def run(self, *given: Any) -> tuple[Losses, tuple[Tensor, Losses]]:
        """Gradients, and (the loss, all losses), of all members.

        The first call writes down the operations, which later calls run without `vmap`, in a third less time.
        """
        with torch.no_grad():  # the gradients are part of what is computed
            if self._traced is None:
                self._traced = make_fx(lambda *given: self._step(*given))(*deepcopy(given))  # it changes buffers
            found: tuple[Losses, tuple[Tensor, Losses]] = self._traced(*given)
        return found

    def _loss(
        self, trained: Losses, others: Losses, buffers: Losses, batch: Batch, drawn: list[Tensor]
    ) -> tuple[Tensor, Losses]:
        tensors = {f"model.{name}": value for name, value in (trained | others | buffers).items()}
        with Replaying(drawn):
            losses = functional_call(self.whole, tensors, (batch,))
        return losses["loss"], losses


@dataclass
class Asked:
    """A member waits for losses."""

    key: Hashable
    program: Program
    batch: Batch
    drawn: list[Tensor]
    random_state: Tensor
    losses: Losses = field(default_factory=dict)
    gradients: list[Tensor] = field(default_factory=list)
    error: BaseException | None = None
    seconds: float = 0.0  # the member's share of the time that this took


class Stack:
    """Members of one structure: the storage of their parameters and buffers, and the programs that they share.

    Slot i of each stored tensor belongs to member i, whose parameters and buffers are views of it. All slots are
    computed, also those of members that have ended, so that a result does not depend on who is left.

    Args:
        models: of the members, alike as `difference` says.
        programs: those of another stack of such models.
    """

    def __init__(self, models: Sequence[Model], programs: dict[Hashable, Program] | None = None) -> None:
        self.width = len(models)
        self.template = deepcopy(models[0])
        self.parameters: Losses = {}
        self.buffers: Losses = {}
        self.programs = {} if programs is None else programs
        self.members = [Stacked(self, i) for i in range(self.width)]

    def place(self, slot: int, model: Model) -> None:
        """Moves a member's parameters and buffers into its slot, once they are on their device."""
        for stored, named in (
            (self.parameters, model.named_parameters()),
            (self.buffers, model.named_buffers()),
        ):
            for name, tensor in named:
                if name not in stored:
                    stored[name] = torch.stack([tensor.detach()] * self.width)
                    self.template.to(tensor.device)
                stored[name][slot].copy_(tensor.detach())
                tensor.data = stored[name][slot]

    def program(
        self, path: str, method: str, parts: Sequence[nn.Module], trained: tuple[str, ...], batch: Batch
    ) -> tuple[Hashable, Program]:
        """The program for a call, and what it depends on; `parts` are the modules of the member's model."""
        shapes = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors_in(batch))
        modes = tuple([part.training for part in parts])
        key = (path, method, trained, shapes, modes)
        if key not in self.programs:
            template = deepcopy(self.template)
            for mine, its in zip(template.modules(), parts, strict=True):
                mine.training = its.training
            self.programs[key] = Program(template, path, method, trained, batch)
        return key, self.programs[key]

    def answer(self, asked: dict[int, Asked]) -> None:
        """Computes what members wait for; all have the same key.

        Args:
            asked: by slot.
        """
        since = time.monotonic()
        first = next(iter(asked.values()))
        slots = [asked.get(slot, first) for slot in range(self.width)]
        idle = [slot for slot in range(self.width) if slot not in asked]
        kept = [(buffer, buffer[idle].clone()) for buffer in self.buffers.values()] if idle else []
        program = first.program
        try:
            gradients, (_, losses) = program.run(
                {name: self.parameters[name] for name in program.trained},
                {name: self.parameters[name] for name in program.others},
                self.buffers,
                _stacked([one.batch for one in slots]),
                [torch.stack(drawn) for drawn in zip(*(one.drawn for one in slots), strict=True)],
            )
        except RuntimeError as error:
            for one in asked.values():
                one.error = error
            return
        for buffer, before in kept:
            buffer[idle] = before
        by_slot = list(zip(*(gradients[name].unbind() for name in program.trained), strict=True))
        values = {name: value.detach().unbind() for name, value in losses.items()}
        took = (time.monotonic() - since) / len(asked)
        for slot, one in asked.items():
            one.losses = {name: value[slot] for name, value in values.items()}
            one.gradients, one.seconds = list(by_slot[slot]), took


def _stacked(batches: Sequence[Batch]) -> Batch:
    """Batches of one structure, stacked along a new first dimension."""
    others = [iter(list(tensors_in(batch))) for batch in batches]
    return mapped(batches[0], lambda _: torch.stack([next(tensors) for tensors in others]))


class Stacked(Eager):
    """The execution of a member: its losses are computed with those of the other members.

    Args:
        stack: of the members.
        slot: which of them this is.
    """

    def __init__(self, stack: Stack, slot: int) -> None:
        super().__init__()
        self.stack, self.slot, self.width = stack, slot, stack.width
        self.waiting: Asked | None = None
        self.steps: Any = None
        self._answered: list[tuple[Tensor, list[nn.Parameter], list[Tensor]]] = []

    def __deepcopy__(self, memo: Any) -> Eager:
        """A copy of a member steps alone."""
        return Eager()

    def prepare(self, steps: Steps, given: Any) -> None:
        model = steps.model
        self.stack.place(self.slot, model)
        self.named = dict(model.named_parameters())
        self.parts = [*model.modules()]  # looking them up each time would take a fiftieth of a step
        for path, part in model.named_modules():
            if isinstance(part, Model):
                # as Module.compile does: copies of the model do without it
                part._compiled_call_impl = partial(self._losses, path, "forward", part._call_impl)
            if isinstance(part, AdversarialModel):
                alone = part.compute_adversarial_loss
                asked = partial(self._losses, path, "compute_adversarial_loss", alone)
                part.compute_adversarial_loss = asked  # type: ignore[method-assign]

    def way_back(self, backward: Callable[[Tensor], object]) -> Callable[[Tensor], object]:
        return self._backward

    def run(self, steps: Steps, batches: Iterable[Batch]) -> None:
        self.steps = steps
        super().run(steps, self._afresh(batches))

    def _afresh(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Forgets the losses of a batch before the next one."""
        for batch in batches:
            self._answered.clear()
            yield batch

    def _losses(self, path: str, method: str, alone: Callable[[Batch], Losses], batch: Batch) -> Losses:
        if not torch.is_grad_enabled():  # an evaluation
            return alone(batch)
        trained = tuple(name for name, parameter in self.named.items() if parameter.requires_grad)
        key, program = self.stack.program(path, method, self.parts, trained, batch)
        drawn = [draw() for draw in program.draws]
        asked = Asked(key, program, batch, drawn, torch.default_generator.get_state())
        self.waiting = asked
        clock = self.steps.clock
        clock.stop()
        go_on_later()
        clock.seconds += asked.seconds
        clock.start()
        torch.default_generator.set_state(asked.random_state)
        if asked.error is not None:
            raise asked.error
        loss = asked.losses["loss"].clone().requires_grad_()
        self._answered.append((loss, [self.named[name] for name in program.trained], asked.gradients))
        return asked.losses | {"loss": loss}

    def _backward(self, loss: Tensor) -> None:
        """Goes backward from a loss that `_losses` returned, or from a function of such losses."""
        ends = [leaf for leaf, _, _ in self._answered]
        if not any(loss is leaf for leaf in ends):
            loss.backward()
        for leaf, parameters, gradients in self._answered:
            if leaf is not loss and leaf.grad is None:
                continue
            if leaf.grad is not None:
                gradients = list(torch._foreach_mul(gradients, leaf.grad))
                leaf.grad = None
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if not parameter.requires_grad:
                    continue
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def difference(first: nn.Module, other: nn.Module) -> str:
    """What keeps two models from being stacked, such as 'encoder.0.weight'; '' if nothing does.

    Values of parameters, buffers and coefficients may differ.
    """
    parts, others = dict(first.named_modules()), dict(other.named_modules())
    for name in parts.keys() ^ others.keys():
        return name
    for name, part in parts.items():
        if type(part) is not type(others[name]):
            return name or type(part).__name__
        if isinstance(part, Coefficient):
            continue
        for key in vars(part).keys() | vars(others[name]).keys():
            mine, theirs = vars(part).get(key), vars(others[name]).get(key)
            if _is_setting(key, mine) and not _same(mine, theirs):
                return f"{name}.{key}".lstrip(".")
    for named in ("named_parameters", "named_buffers"):
        mine, theirs = (
            {name: (tuple(t.shape), t.dtype) for name, t in getattr(model, named)()} for model in (first, other)
        )
        for name in mine.keys() | theirs.keys():
            if mine.get(name) != theirs.get(name):
                return name
    return ""


def _is_setting(key: str, value: Any) -> bool:
    return not key.startswith("_") and not isinstance(value, Tensor | nn.Module)


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, partial) and isinstance(theirs, partial):
        return (mine.func, mine.args, mine.keywords) == (theirs.func, theirs.args, theirs.keywords)
    if callable(mine) and callable(theirs):
        return getattr(mine, "__qualname__", mine) == getattr(theirs, "__qualname__", theirs)
    return bool(mine == theirs)


def answer_all(members: Iterable[Stacked]) -> None:
    """Computes what members wait for: one program for those that ask for the same."""
    groups: dict[tuple[int, Hashable], tuple[Stack, dict[int, Asked]]] = {}
    for member in members:
        if member.waiting is not None:
            asked, member.waiting = member.waiting, None
            _, slots = groups.setdefault((id(member.stack), asked.key), (member.stack, {}))
            slots[member.slot] = asked
    for stack, slots in groups.values():
        stack.answer(slots)
