"""Seconds of training, and how all ranks agree on them. The time of evaluations and checkpoints does not count."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed


class Clock:
    """A clock that does not run before `start`, nor within `paused`."""

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        running = time.monotonic() - self._since if self._since is not None else 0.0
        return self._before + running

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._before = value
        if self._since is not None:
            self._since = time.monotonic()

    def start(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def stop(self) -> None:
        self._before, self._since = self.seconds, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        was_running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if was_running:
                self.start()


class Agreement:
    """Rank 0's clock and a signal to any rank, the same on all ranks after each iteration, without waiting for them.

    Several ranks exchange both after each iteration in the background; what they find holds `LAG` iterations later, on
    all of them. On a device that runs behind the host, the host waits for the iteration before the last `LAG`, so that
    it is never further ahead. One process on a CPU has no lag.

    Args:
        world, rank: the number of processes, and which one this is.
        device: where the model is.
        seconds: of training so far, the same on all ranks.
    """

    LAG = 8  # iterations

    def __init__(self, world: int = 1, rank: int = 0, device: torch.device | str = "cpu", seconds: float = 0.0) -> None:
        self.world, self.rank = world, rank
        self._behind = torch.device(device).type == "cuda"
        # a group of its own on the CPU, so that it waits neither for the device nor for gradients
        self._group = distributed.new_group(backend="gloo") if world > 1 else None
        self._known = seconds, 0
        self._exchanged: deque[tuple[Any, Tensor]] = deque()
        self._events: deque[torch.cuda.Event] = deque()

    def after_iteration(self, seconds: float, signal: int) -> tuple[float, int]:
        """The seconds and the signal that hold now, from those of this rank. All ranks must call it together."""
        if self._behind:
            self._events.append(torch.cuda.Event())
            self._events[-1].record()
            if len(self._events) > self.LAG:
                self._events.popleft().synchronize()
        if self._group is None:
            return seconds, signal
        self._exchange(seconds, signal)
        if len(self._exchanged) > self.LAG:
            self._take()
        return self._known

    def now(self, seconds: float, signal: int) -> tuple[float, int]:
        """The same without a lag: waits for all ranks, which must call it together."""
        if self._group is None:
            return seconds, signal
        self._exchange(seconds, signal)
        while self._exchanged:
            self._take()
        return self._known

    def _exchange(self, seconds: float, signal: int) -> None:
        mine = torch.tensor([seconds if self.rank == 0 else 0.0, float(signal)], dtype=torch.float64)
        work = distributed.all_reduce(mine, op=distributed.ReduceOp.MAX, group=self._group, async_op=True)
        self._exchanged.append((work, mine))

    def _take(self) -> None:
        work, shared = self._exchanged.popleft()
        work.wait()
        self._known = float(shared[0]), int(shared[1])
