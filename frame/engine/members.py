"""Trains several runs in one process, as members of stacks; see `frame.optimization.stacked`."""

import contextvars
import os
import signal
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from copy import deepcopy
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from greenlet import greenlet
from torch import Tensor

from frame.callbacks.stopping import Signals
from frame.common import output
from frame.common.errors import UserError
from frame.common.seeds import random_states
from frame.data.base import Batch
from frame.optimization.execution import Eager
from frame.optimization.stacked import Asked, Program, Stack, Stacked, answer_all, difference, go_on_later

if TYPE_CHECKING:
    from frame.engine.experiment import Experiment

TRIED = 10  # steps that are timed
_MEMBER: contextvars.ContextVar["Member | None"] = contextvars.ContextVar("member", default=None)


class NotStackable(UserError):
    """A member cannot be part of a stack. The message says why."""


def join(experiment: "Experiment") -> None:
    """Waits for the other members of a stack, once a run is built and before its folder is made.

    Does nothing if the run is trained alone.

    Raises:
        NotStackable: the run must be trained alone.
    """
    member = _MEMBER.get()
    if member is None:
        return
    member.experiment, member.joined = experiment, True
    go_on_later()
    if member.refused:
        raise NotStackable(member.refused)


class Member:
    """A run that takes turns with others.

    Args:
        train: trains the run, and returns its exit code.
        log: stream for its output.
    """

    experiment: "Experiment"  # once it has joined

    def __init__(self, train: Callable[[], int], log: IO[str]) -> None:
        self.joined = False
        self.refused = ""  # why it cannot be part of a stack
        self.execution: Stacked | None = None
        self.code: int | None = None  # once it has ended
        self._stream: Any = output.Stream(log, None)
        self._streams = self._stream, self._stream
        self._train = train
        self._greenlet = greenlet(self._run)
        self._greenlet.gr_context = contextvars.copy_context()

    def _run(self) -> int:
        _MEMBER.set(self)
        return self._train()

    def go_on(self) -> None:
        """Goes on until it waits for others, or to its end."""
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self._streams
        try:
            code = self._greenlet.switch()
        finally:
            self._streams, (sys.stdout, sys.stderr) = (sys.stdout, sys.stderr), before
        if self._greenlet.dead:
            self.code = code
            self._stream.flush()


def train_together(members: Sequence[Member], ended: Callable[[int, int], None], if_quicker: bool = False) -> None:
    """Trains members to their ends.

    Args:
        members: runs that wait for each other once they are built.
        ended: called with a member's number and its exit code.
        if_quicker: whether a stack that is not quicker than its members one after another is given up.
    """
    with _Signals(members) as signals:
        alive = list(range(len(members)))

        def all_go_on() -> None:
            for number in list(alive):
                signals.listen()
                members[number].go_on()
                code = members[number].code
                if code is not None:
                    alive.remove(number)
                    ended(number, code)

        all_go_on()  # until they are built
        _stack([members[number] for number in alive], if_quicker)
        while alive:
            all_go_on()
            signals.pass_on()
            answer_all(execution for number in alive if (execution := members[number].execution) is not None)


def _stack(members: Sequence[Member], if_quicker: bool) -> None:
    """Makes stacks of the members that are alike, and says of each other member why it is refused."""
    groups: list[list[Member]] = []
    for member in members:
        member.refused = _refused(member.experiment)
        if member.refused:
            continue
        for group in groups:
            if not difference(group[0].experiment.model, member.experiment.model):
                group.append(member)
                break
        else:
            groups.append([member])
    for group in groups:
        programs: dict[Hashable, Program] = {}
        if len(group) == 1:
            largest = max(groups, key=len)[0]
            what = difference(largest.experiment.model, group[0].experiment.model)
            reason = f"{what} differs from that of the others" if what else "no other run is like it"
        else:
            reason = _tried([member.experiment for member in group], if_quicker, programs)
        if reason:
            for member in group:
                member.refused = reason
            continue
        stack = Stack([member.experiment.model for member in group], programs)
        for member, execution in zip(group, stack.members, strict=True):
            member.execution = member.experiment.optimization.execution = execution


def _refused(experiment: "Experiment") -> str:
    """Why a run cannot be a member of any stack; '' if it may be one."""
    optimization, trainer = experiment.optimization, experiment.trainer
    if trainer.world_size > 1:
        return "it has several processes"
    if type(optimization.execution) is not Eager:
        return "its execution is not eager"
    if not experiment.model.vectorisable:
        return f"{type(experiment.model).__name__} says vectorisable = False"
    return ""


def _tried(experiments: Sequence["Experiment"], if_quicker: bool, programs: dict[Hashable, Program]) -> str:
    """Tries a batch on copies, whose program is added; returns why these runs are not stacked, or ''."""
    first = experiments[0]
    batch = _first_batch(first)
    models = [deepcopy(experiment.model).to(batch["index"].device) for experiment in experiments]
    stack = Stack(models, programs)
    for slot, model in enumerate(models):
        stack.place(slot, model)
    names = tuple(name for name, parameter in models[0].named_parameters() if parameter.requires_grad)
    name = type(first.model).__name__
    with random_states() as seeded:
        seeded(0)
        try:
            key, program = stack.program("", "forward", [*models[0].modules()], names, batch)
            asked = [Asked(key, program, batch, [draw() for draw in program.draws], Tensor()) for _ in models]
            stack.answer(dict(enumerate(asked)))
        except Exception as error:  # whatever a model's code raises under vmap
            return f"{name}: {_first_line(error)}"
        if asked[0].error is not None:
            return f"{name}: {_first_line(asked[0].error)}"
        if not if_quicker:
            return ""
        together = _seconds(lambda: stack.answer(dict(enumerate(asked))))
        alone = deepcopy(first.model)
        each = _seconds(lambda: alone(batch)["loss"].backward())
    if together >= each * len(models):
        return f"a stack of {len(models)} takes {together / each:.1f} times the time of a single step"
    return ""


def _first_batch(experiment: "Experiment") -> Batch:
    loader = experiment.loader
    before = loader.state_dict()
    batch = next(iter(loader))
    loader.load_state_dict(before)
    return batch


def _seconds(step: Callable[[], object]) -> float:
    step()
    since = time.monotonic()
    for _ in range(TRIED):
        step()
    return (time.monotonic() - since) / TRIED


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _Signals:
    """Notes SIGTERM, SIGHUP and Ctrl-C for all members; a second signal kills the process."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members, self.noticed = members, 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        self._before = {number: signal.getsignal(number) for number in Signals.NUMBERS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Sets the handlers again, because Lightning sets its own."""
        for number, before in self._before.items():
            if before is not signal.SIG_IGN and signal.getsignal(number) != self._note:  # setting takes longer
                signal.signal(number, self._note)

    def pass_on(self) -> None:
        """Tells all members at the same iteration, so that they save the same one."""
        for member in self.members if self.noticed else ():
            if member.joined:
                member.experiment.optimization.noticed_signal = self.noticed

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noticed:
            os._exit(128 + number)
        self.noticed = number
