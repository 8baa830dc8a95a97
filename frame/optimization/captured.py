"""Captured steps: the operations of an iteration are recorded once, as a CUDA graph, and replayed without Python."""

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from frame.common.errors import UserError
from frame.common.output import say
from frame.data.base import Batch, mapped, tensors_in
from frame.optimization.execution import Eager
from frame.optimization.stretches import Stretches
from frame.optimization.traces import refusal, shapes_of, tensors_of, tracing, why_not

Losses = dict[str, Tensor]
FUSED = ("Adam", "AdamW", "SGD")  # whose fused steps have one kernel on any device
WARM_UP = 3  # runs before a capture, in which libraries choose algorithms and allocate


class Graph(Protocol):
    """Records the operations of a function, which is called once, and repeats them on the same tensors."""

    def capture(self, function: Callable[[], Losses]) -> Losses: ...

    def replay(self) -> None: ...


class CudaGraph:
    """A CUDA graph with its own memory. Replays draw from the generators as they are seeded then."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.graph = torch.cuda.CUDAGraph()
        for generator in generators:
            if generator.device.type == "cuda":
                self.graph.register_generator_state(generator)

    def capture(self, function: Callable[[], Losses]) -> Losses:
        try:
            # thread_local: another thread, such as one that pins memory, may go on
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                return function()
        except RuntimeError as error:  # torch cannot go on from here: its generators still think that they are captured
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"execution=captured: CUDA cannot capture a step ({reason}): train with execution=eager"
            ) from error

    def replay(self) -> None:
        self.graph.replay()


@dataclass
class Recording:
    """A recorded iteration: the graph, the tensors that it reads and writes, and which gradients it leaves."""

    graph: Graph
    rows: Batch
    losses: Losses
    gradients: list[Tensor | None]


class Captured(Eager):
    """Repeats the operations of a step on a GPU as CUDA graphs, so that Python is not asked for each of them.

    All of an iteration is in the graph: reading rows that are on the device, augmentation, forward, backward, clipping,
    the optimizers' steps, `after_update` and the average of the weights. There is a graph for each combination of what
    the host decides (`Optimization.decided`) and of shapes: a phase of the procedure, a batch that only accumulates, a
    frozen part, the shorter batch at the end of an epoch. Scheduled values are tensors that change between replays, and
    generators are seeded before each replay, as in eager execution.

    What cannot be captured is found by a trace of the step before its first capture, and runs eagerly; one line says
    why. Optimizers must keep their state on the device: torch's with `fused` or `capturable`, and others with the class
    attribute `capturable = True`.

    Args:
        channels_last: as in `Eager`.
    """

    MOST = 64  # graphs, each of which has memory of its own

    def __init__(self, channels_last: bool = False) -> None:
        super().__init__(channels_last)
        self._recordings: dict[Hashable, Recording] = {}
        self._eager: set[Hashable] = set()  # what cannot be captured
        self._told: set[str] = set()
        self._slots: dict[nn.Parameter, Tensor] = {}  # gradients that wait for the next batch of an accumulation
        self._loader: Any = None  # if it gives stored rows, of which batches are made
        self._inside: bool | None = None  # whether that happens in the graph, once it is known
        self._generators: list[torch.Generator] = []
        self._unfit = ""  # why nothing can be captured

    def __deepcopy__(self, memo: Any) -> Eager:
        """Graphs cannot be copied; a copy of an optimization steps eagerly."""
        return Eager(self.channels_last)

    def check(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise UserError("execution=captured needs a GPU, and this run is on a CPU: start one with execution=eager")

    def graph(self) -> Graph:
        return CudaGraph(self._generators)

    def warm_up(self, function: Callable[[], Losses]) -> Losses:
        """Runs a function before its capture, on a stream of its own as torch.cuda.graph does."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = function()
        torch.cuda.current_stream().wait_stream(stream)
        return found

    def prepare(self, steps: Any, given: Any) -> None:
        device = next(steps.model.parameters()).device
        on_gpu = device.type == "cuda"
        self._generators = [torch.cuda.default_generators[device.index or 0] if on_gpu else torch.default_generator]
        several = "several processes train together"
        self._unfit = several if steps.world > 1 else self._place_options(steps, device)
        if isinstance(given, Stretches) and hasattr(given.loader, "on_meta") and not self._unfit:
            given.stored, self._loader = True, given.loader

    def _place_options(self, steps: Any, device: torch.device) -> str:
        """Lets optimizers read scheduled options from the device; returns why one of them cannot, or ''."""
        groups = [
            (player.optimizer, group, scheduled)
            for player in steps.players.values()
            for group, scheduled in zip(player.optimizer.param_groups, player.scheduled(), strict=True)
        ]
        for optimizer, _, scheduled in groups:
            if reason := refused(optimizer, scheduled):
                return reason
        for optimizer, group, scheduled in groups:
            make_static(optimizer, group)
            for option in scheduled:
                group[option] = torch.tensor(float(group[option]), device=device)
        for player in steps.players.values():
            if is_torchs(player.optimizer) and any("weight_decay" in scheduled for scheduled in player.scheduled()):
                decay_apart(player.optimizer)
        return ""

    def step(self, steps: Any, batch: Batch) -> Losses:
        if self._unfit:
            self._tell("steps run", self._unfit)
            return self._run(steps, batch)
        if self._loader is not None and self._inside is None:
            self._place_making(batch)
        if self._loader is not None and not self._inside:
            batch = self._loader.made(batch)
        shapes = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors_in(batch))
        key = (shapes, steps.decided())
        if key not in self._recordings and key not in self._eager:
            losses = self._record(key, steps, batch)
            if losses is not None:
                return losses
        if key in self._eager:
            return self._run(steps, batch)
        return self._replay(self._recordings[key], steps, batch)

    def _replay(self, recording: Recording, steps: Any, batch: Batch) -> Losses:
        for mine, new in zip(tensors_in(recording.rows), tensors_in(batch), strict=True):
            mine.copy_(new, non_blocking=True)
        recording.graph.replay()
        if steps.accumulate > 1:
            for parameter, gradient in zip(_parameters(steps), recording.gradients, strict=True):
                parameter.grad = gradient
        for averaged in steps._averaged if steps.complete else ():
            averaged.begins = False
        return recording.losses

    def _run(self, steps: Any, batch: Batch) -> Losses:
        """An iteration, whose gradients stay where graphs look for them."""
        losses = steps.work(self._loader.made(batch) if self._inside else batch)
        for parameter in _parameters(steps) if steps.accumulate > 1 else ():
            if parameter.grad is not None and parameter.grad is not self._slots.get(parameter):
                if parameter not in self._slots:
                    self._slots[parameter] = torch.zeros_like(parameter.grad)
                parameter.grad = self._slots[parameter].copy_(parameter.grad)
        return {name: value.detach() for name, value in losses.items()}

    def _record(self, key: Hashable, steps: Any, batch: Batch) -> Losses | None:
        """Records an iteration, and leaves everything as it was; or returns the losses if it had to run after all.

        It runs for good, eagerly, if an optimizer makes its state in it. Whether it does depends on the training so far
        and not on when the process started, so that a resumed run does the same.
        """
        if reason := self._why_not(steps, batch):
            self._tell("a part of the steps runs", reason)
            self._eager.add(key)
            return None
        rows = mapped(batch, torch.clone)
        before, gradients = tensors_of(steps), {p: p.grad for p in _parameters(steps)}
        kept = {name: tensor.detach().clone() for name, tensor in before.items()}
        kept_gradients = {p: gradient.clone() for p, gradient in gradients.items() if gradient is not None}
        begins = [averaged.begins for averaged in steps._averaged]
        random = [generator.get_state() for generator in self._generators]

        @torch.no_grad()
        def restore() -> None:
            for name, tensor in tensors_of(steps).items():
                tensor.copy_(kept[name])
            for parameter, gradient in gradients.items():
                parameter.grad = gradient
                if gradient is not None:
                    gradient.copy_(kept_gradients[parameter])
            for averaged, value in zip(steps._averaged, begins, strict=True):
                averaged.begins = value
            for generator, state in zip(self._generators, random, strict=True):
                generator.set_state(state)

        for _ in range(WARM_UP):
            losses = self.warm_up(lambda: self._run(steps, rows))
            now = tensors_of(steps)
            if now.keys() != before.keys():  # the first step of an optimizer
                return losses
            replaced = [name for name, tensor in now.items() if tensor is not before[name]]
            reasons = [f"{name} is replaced: write into it, as in .copy_()" for name in replaced]
            if steps.accumulate == 1 and any(parameter.grad is not None for parameter in gradients):
                reasons.append("gradients are left after the step")
            if reasons:
                self._tell("a part of the steps runs", reasons[0])
                self._eager.add(key)
                return losses
            restore()
        del losses
        graph = self.graph()
        found = graph.capture(lambda: self._run(steps, rows))
        left = [parameter.grad for parameter in _parameters(steps)]
        restore()
        self._recordings[key] = Recording(graph, rows, found, left)
        return None

    def _place_making(self, batch: Batch) -> None:
        """Makes batches in the graph if that can be captured, else before each replay."""

        def traced() -> None:
            there, shapes = self._loader.on_meta(), shapes_of(batch)
            with tracing():
                there.made(shapes)

        with _as_it_was(self._loader.generator):
            reason = refusal(traced)
        self._inside = not reason
        if self._inside:
            self._generators.append(self._loader.generator)
        else:
            self._tell("augmentation runs", reason)

    def _why_not(self, steps: Any, batch: Batch) -> str:
        if len(self._recordings) >= self.MOST:
            return f"there are {self.MOST} graphs already"
        if self._inside:
            with _as_it_was(self._loader.generator):
                batch = self._loader.on_meta().made(shapes_of(batch))
        return why_not(steps, batch)

    def _tell(self, what: str, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            say(f"execution=captured: {what} eagerly: {reason}")


@contextmanager
def _as_it_was(generator: torch.Generator) -> Iterator[None]:
    """Restores a generator's state: a trace may draw from it."""
    state = generator.get_state()
    try:
        yield
    finally:
        generator.set_state(state)


def _parameters(steps: Any) -> list[nn.Parameter]:
    return [parameter for player in steps.players.values() for parameter in player.parameters]


def is_torchs(optimizer: Optimizer) -> bool:
    return type(optimizer).__module__.startswith("torch.optim")


def refused(optimizer: Optimizer, scheduled: Collection[str]) -> str:
    """Why an optimizer's step cannot be captured if these options change; '' if it can."""
    kind, others = type(optimizer).__name__, sorted(set(scheduled) - {"lr", "weight_decay"})
    if not is_torchs(optimizer):
        if getattr(optimizer, "capturable", False):
            return ""
        return f"{kind} does not say that it can be captured: set capturable = True in its class"
    if kind not in FUSED and "capturable" not in optimizer.defaults:
        return f"{kind} reads values on the host"
    return f"{kind} takes no tensor as {', '.join(others)}, which a schedule changes" if others else ""


def make_static(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Lets an optimizer keep its state and read its options where its parameters are."""
    if not is_torchs(optimizer):
        return
    group.update(foreach=type(optimizer).__name__ not in FUSED)
    if "fused" in group:
        group["fused"] = type(optimizer).__name__ in FUSED
    if "capturable" in group:
        group["capturable"] = True
        optimizer._warned_capturable_if_run_uncaptured = True
    for parameter in group["params"]:
        step = optimizer.state.get(parameter, {}).get("step")
        if isinstance(step, Tensor):
            optimizer.state[parameter]["step"] = step.to(parameter.device, torch.float32)


def decay_apart(optimizer: Optimizer) -> None:
    """Lets a weight decay be a tensor, which torch's optimizers would read: it is applied before their steps.

    For AdamW, w = w (1 - lr decay), else g = g + decay w, as their steps begin.
    """
    taken: list[Tensor] = []

    @torch.no_grad()
    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        taken.clear()
        for group in optimizer.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            decay = group["weight_decay"]
            taken.append(decay)
            if not isinstance(decay, Tensor):
                continue
            group["weight_decay"] = 0.0
            if weights and group.get("decoupled_weight_decay"):
                torch._foreach_mul_(weights, 1 - group["lr"] * decay)
            elif weights:
                torch._foreach_add_([weight.grad for weight in weights], torch._foreach_mul(weights, decay))

    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group, decay in zip(optimizer.param_groups, taken, strict=True):
            group["weight_decay"] = decay

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
