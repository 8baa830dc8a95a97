"""Sharded training: each process holds a part of every parameter, gradient, optimizer's state and average (FSDP2).

Zhao et al. 2023, "PyTorch FSDP" (2304.11277); torch's `fully_shard` splits each parameter along its first dimension.
The model is one group of parameters, gathered for a loss and put away after its gradient. Its large blocks, the layers
of a `Sequential` or `ModuleList`, are groups of their own, gathered only while they compute.
"""

import gc
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, empty
from torch.nn import functional as F

from frame.common.errors import UserError
from frame.common.in_file import in_file
from frame.common.memory import limit, shown
from frame.common.output import say
from frame.common.ranks import alone, gathered, whole
from frame.common.seeds import random_states
from frame.data.base import Batch
from frame.models.base import AdversarialModel, Model, Teacher
from frame.optimization.execution import Eager
from frame.optimization.player import Player

LEAST = 1000  # parameters of a block; fewer are not worth a message of their own
FUSED = torch.optim.Adam, torch.optim.AdamW
TOLERANCE = 1e-4  # of a gradient, relative to the largest one
PIECES = 10_000  # into which a gradient is cut, whose sums are compared
COPIES = 6  # of the parameters that a trial holds at once: they, a copy, its gradients, Adam's two, gathered ones


class Sharded(Eager):
    """Runs steps as `Eager` does, with parameters that are split over all processes.

    Losses and gradients are those of DDP: means over ranks. Buffers are whole on each process, but for the weights of a
    `Teacher`.

    Args:
        channels_last: as in `Eager`.
    """

    in_parts = True

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__(channels_last)
        self.blocks = True  # whether blocks are gathered by themselves
        self._why = ""  # they are not
        self._mesh: DeviceMesh | None = None  # once the processes know each other

    def __deepcopy__(self, memo: Any) -> Eager:
        """A copy of an optimization has whole parameters."""
        return Eager(self.channels_last)

    def untrained(self, build: Callable[[], nn.Module]) -> nn.Module:
        with in_file():
            model: Any = build()
        if self._mesh is not None:
            shard(model, self._mesh, self.blocks)
            model.unshard()
        return model

    def try_out(self, steps: Any, batch: Batch, evaluate: Callable[[Model], object]) -> None:
        """Takes steps with a copy that is sharded over this process alone, and compares them with plain ones.

        If they differ or fail, for example because a loss takes gradients of its own, the model is one group. The other
        processes learn it in `place`. Without room for whole copies nothing is tried.

        Raises:
            UserError: the model cannot be sharded at all.
        """
        name, n_bytes = type(steps.model).__name__, COPIES * sum(p.nbytes for p in steps.model.parameters())
        if n_bytes > limit() // 2:
            say(
                f"fsdp2: {name} is not compared with a whole one before training: that takes {shown(n_bytes)}, more "
                "than half of the memory. Train a smaller one with the same options first"
            )
            return
        plain = _steps(deepcopy(steps), batch)
        with _one_process() as mesh:
            for blocks in (True, False):
                self.blocks = blocks
                try:
                    with _mixing_is_an_error():
                        reason = self._difference(deepcopy(steps), mesh, batch, evaluate, plain)
                except Exception as error:  # torch and models raise many types
                    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                gc.collect()  # parts of a model refer to each other in circles
                if not reason:
                    return
                self._why = reason
        raise UserError(f"trainer.strategy=fsdp2: {name} cannot be sharded ({reason}): set trainer.strategy=ddp")

    def _difference(
        self, copy: Any, mesh: DeviceMesh, batch: Batch, evaluate: Callable[[Model], object], plain: "Taken"
    ) -> str:
        """How steps of a copy differ from plain ones; '' if they do not, and the evaluations succeed."""
        copy.execution = Sharded(self.channels_last)
        copy.execution.blocks = self.blocks
        copy.execution._split(copy, mesh)
        for (losses, gradients), (true_losses, true_gradients) in zip(_steps(copy, batch), plain, strict=True):
            for name, loss in true_losses.items():
                if not torch.allclose(losses[name], loss, rtol=1e-3, equal_nan=True):
                    return f"{name} is {float(losses[name]):g} instead of {float(loss):g}"
            largest = max((gradient.abs().max() for gradient in true_gradients.values()), default=0.0)
            for name, gradient in true_gradients.items():
                if name not in gradients or (gradients[name] - gradient).abs().max() > TOLERANCE * largest:
                    return f"the gradient of {name} differs"
        with gathered(copy.model):
            evaluate(copy.model)
        return ""

    def place(self, steps: Any) -> None:
        # a group of its own, so that what ranks tell each other is never taken for parameters
        group = distributed.new_group()
        found: list[Any] = [self.blocks, self._why]
        distributed.broadcast_object_list(found, group=group)
        self.blocks, self._why = found
        if not self.blocks and steps.trainer.is_global_zero:
            say(f"fsdp2: the parameters of {type(steps.model).__name__} are gathered all at once: {self._why}")
        self._mesh = DeviceMesh.from_group(group, steps.trainer.strategy.root_device.type)
        self._split(steps, self._mesh)

    def _split(self, steps: Any, mesh: DeviceMesh) -> None:
        steps.forget_players()  # they hold whole parameters
        with in_file():
            steps.prepare_average()  # a copy, which is split like the model
        self._model, self._group = steps.model, mesh.get_group()
        self.empty = lambda size, dtype: empty(size, dtype=dtype, device_mesh=mesh, placements=[Shard(0)])
        for model in (steps.model, *(averaged.module for averaged in steps._averaged)):
            shard(model, mesh, self.blocks)

    def prepare(self, steps: Any, given: Any) -> None:
        for player in steps.players.values():
            for group in player.optimizer.param_groups:
                if group.get("fused") and not isinstance(player.optimizer, FUSED):
                    group["fused"] = False  # torch has no such kernel for parts

    def placed(self, steps: Any, state: dict[str, Any]) -> dict[str, Any]:
        averaged = [{"average": _like(state["average"], one.state_dict())} for one in steps._averaged]
        players = {name: _like_parameters(state["players"][name], player) for name, player in steps.players.items()}
        model = _like(state["model"], steps.model.state_dict())
        return {**state, "model": model, "players": players, **(averaged[0] if averaged else {})}

    def way_back(self, backward: Callable[[Tensor], object]) -> Callable[[Tensor], object]:
        def go_back(loss: Tensor) -> None:
            backward(loss)
            self._share()
            self.put_away()

        return go_back

    def _share(self) -> None:
        """Gradients of single numbers, which cannot be split, become means over processes, as torch's are for parts.

        Those of an earlier loss are the same on all processes, and stay as they are.
        """
        for parameter in self._model.parameters():
            if parameter.dim() == 0 and parameter.grad is not None:
                distributed.all_reduce(parameter.grad, group=self._group)
                parameter.grad /= self._group.size()

    def put_away(self) -> None:
        self._model.reshard()


Taken = list[tuple[dict[str, Tensor], dict[str, Tensor]]]


def _steps(steps: Any, batch: Batch) -> Taken:
    """The losses and gradients of a step of each kind on a batch, and of one more; optimizers update.

    A gradient is noted by the sums of its pieces.
    """
    steps.players = steps.grouped_players()
    steps.execution.prepare(steps, None)
    steps._backward = steps.execution.way_back(Tensor.backward)
    taken: Taken = []
    with random_states() as seed_all:
        for number, (updates, _) in enumerate((*steps.kinds(), *steps.kinds())):
            gradients: dict[str, Tensor] = {}
            for player in steps.players.values():
                player.update = partial(_noting, player, gradients)
            seed_all(number)
            steps.counters["updates"] = updates
            steps.accumulated, steps.rows = steps.accumulate, len(batch["index"])
            steps.waiting = steps.accumulate * steps.batch_size
            losses = steps.work(batch)
            taken.append(({name: loss.detach().clone() for name, loss in losses.items()}, gradients))
    return taken


def _noting(player: Player, gradients: dict[str, Tensor]) -> None:
    """Updates a player, after its gradients are noted."""
    gradients |= {n: _sums(whole(p.grad)) for n, p in player.named.items() if p.grad is not None}
    type(player).update(player)


def _sums(gradient: Tensor) -> Tensor:
    size = max(1, math.ceil(gradient.numel() / PIECES))
    return F.pad(gradient.flatten(), (0, -gradient.numel() % size)).view(-1, size).sum(1)


@contextmanager
def _one_process() -> Iterator[DeviceMesh]:
    """A mesh of this process alone, before it knows others."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        with alone():
            yield DeviceMesh("cpu", [0])
    finally:
        distributed.destroy_process_group()


@contextmanager
def _mixing_is_an_error() -> Iterator[None]:
    """Torch only warns where a part meets a tensor of one number, which it takes to be the same on all processes."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*replicated DTensor.*")
            yield
    finally:
        torch.set_warn_always(before)


def _like(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors, or this process's parts of them where its own are parts."""
    return {name: _part(value, own[name]) if name in own else value for name, value in state.items()}


def _like_parameters(state: Mapping[str, Any], player: Player) -> dict[str, Any]:
    """The state of a player's optimizer, with this process's parts of what has the shape of a parameter."""
    parameters = [parameter for group in player.optimizer.param_groups for parameter in group["params"]]
    kept = {
        number: {key: _part(value, parameters[number]) for key, value in entries.items()}
        for number, entries in state["optimizer"]["state"].items()
    }
    return {**state, "optimizer": {**state["optimizer"], "state": kept}}


def _part(value: Any, own: Tensor) -> Any:
    if not isinstance(own, DTensor) or not isinstance(value, Tensor) or isinstance(value, DTensor):
        return value
    if value.shape != own.shape:  # a count of steps
        return value
    # of a run that was not in parts; a clone, because a part would keep the whole in memory
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None).clone()


def shard(model: Any, mesh: DeviceMesh, blocks: bool) -> None:
    """Splits a model's parameters over the processes of `mesh`, in place. Those of one number stay whole on each.

    Args:
        model: the same on all processes.
        mesh: of one dimension.
        blocks: whether large blocks are gathered by themselves.
    """
    numbers = {parameter for parameter in model.parameters() if parameter.dim() == 0}
    for block in dict.fromkeys(_blocks(model)) if blocks else ():
        fully_shard(block, mesh=mesh, ignored_params=numbers)
    fully_shard(model, mesh=mesh, reshard_after_forward=False, ignored_params=numbers)
    for parameter in numbers:  # torch moves only the others
        parameter.data = parameter.data.to(next(p.device for p in model.parameters() if p.dim()))
    model.set_reshard_after_backward(False, recurse=False)  # a loss or an evaluation may take gradients on its way
    for module in [*model.modules()]:
        if isinstance(module, Teacher):
            _split_weights(module, mesh)
        if isinstance(module, FSDPModule):  # records and messages name the class as it is written
            for name in ("__name__", "__qualname__", "__module__"):
                setattr(type(module), name, getattr(type(module).__mro__[2], name))
    for part in model.modules():
        if isinstance(part, AdversarialModel):
            part.compute_adversarial_loss = _gathering(model, part.compute_adversarial_loss)  # type: ignore[method-assign]
        if isinstance(part, Model) and part is not model:
            part.forward = _gathering(model, part.forward)  # type: ignore[method-assign]
    with torch.no_grad():  # torch takes the first module that computes for the one that holds the others
        _gathering(model, lambda: None)()
    model.reshard()


def _split_weights(teacher: Teacher, mesh: DeviceMesh) -> None:
    """Splits a teacher's weights like the parameters that they follow. They are whole while it embeds."""
    own, embed = dict(teacher.named_buffers()), teacher.embed
    weights = [own[name] for name in teacher.weights if own[name].dim()]
    split = {w: distribute_tensor(w, mesh, [Shard(0)], src_data_rank=None).clone() for w in weights}
    places = [(m, name, split[b]) for m in teacher.modules() for name, b in m._buffers.items() if b in split]
    parts = [*split.values()]  # `split` holds the whole weights, so what stays must not refer to it

    def put(instead: Mapping[Tensor, Tensor]) -> None:
        for module, name, part in places:
            module._buffers[name] = instead.get(part, part)

    def embed_whole(x: Tensor) -> Tensor:
        put({part: whole(part) for part in parts})
        try:
            return embed(x)
        finally:
            put({})

    put({})
    teacher.embed = embed_whole  # type: ignore[method-assign]


def _gathering(model: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called as the forward of the sharded model, so that its own parameters are gathered before."""
    model._function = function
    register_fsdp_forward_method(model, "_function")
    gathering: Any = model._function
    del model._function
    return gathering


def _blocks(module: nn.Module, within: bool = False) -> Iterator[nn.Module]:
    """The large modules in a `Sequential` or `ModuleList`, down to the first that is neither."""
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _blocks(child, True)
        elif within and sum(p.numel() for p in child.parameters()) >= LEAST:
            yield child
        else:
            yield from _blocks(child, False)
