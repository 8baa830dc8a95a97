"""Weights of a loss that may change while training: a number, or a schedule in iterations, epochs or any counter.

In YAML a schedule stands where a number would:

    params:
      beta: {_target_: frame.common.schedules.Linear, start: 0.0, end: 1.0, over: 10 epochs}

The optimization advances every coefficient before each step; its value is a buffer, so that models with different
coefficients can be stacked and a resumed run goes on with the same value.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from frame.common.durations import parse
from frame.common.errors import UserError


class Coefficient(nn.Module):
    """A scalar buffer that follows a schedule; called without arguments, it gives its value now, shape ().

    A subclass says what the value is at a part of the schedule: 0 at its beginning, 1 at its end.

    Args:
        start, end: values at the two ends.
        over: how long it takes, such as '10 epochs' or '5000 iterations'.
        after: how long the first value stays before, in the same unit; nothing by default.

    Raises:
        UserError: `over` or `after` is no duration, or they have different units.
    """

    value: Tensor

    def __init__(self, start: float, end: float, over: str, after: str | None = None) -> None:
        super().__init__()
        self.start, self.end = float(start), float(end)
        self.over = parse(over, key="over")
        self.wait = 0.0
        if after is not None:
            wait = parse(after, key="after")
            if wait.counter != self.over.counter:
                raise UserError(f"after={after} and over={over} have different units: give both in one")
            self.wait = wait.amount
        self.register_buffer("value", torch.tensor(self.at(0.0)))

    def forward(self) -> Tensor:
        return self.value

    def at(self, part: float) -> float:
        """The value at a part >= 0 of the schedule."""
        raise NotImplementedError

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value that it takes."""
        return min(self.start, self.end), max(self.start, self.end)

    def advance(self, counters: Mapping[str, float]) -> None:
        """Takes the value that belongs to the counters of what is behind us.

        Raises:
            UserError: the optimization does not keep the schedule's counter.
        """
        self.over.check(counters, key="over")
        part = max(0.0, counters[self.over.counter] - self.wait) / self.over.amount
        self.value.fill_(self.at(part))


class Constant(Coefficient):
    """The same value always. What a plain number becomes."""

    def __init__(self, value: float) -> None:
        nn.Module.__init__(self)
        self.start = self.end = float(value)
        # not in the checkpoint: the config says it
        self.register_buffer("value", torch.tensor(self.start), persistent=False)

    def advance(self, counters: Mapping[str, float]) -> None:
        pass


class Linear(Coefficient):
    """From start to end in a line, then end."""

    def at(self, part: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, part)


class Exponential(Coefficient):
    """From start to end by equal factors, then end: value = start * (end / start) ^ part.

    Raises:
        UserError: an end of it is not above 0.
    """

    def __init__(self, start: float, end: float, over: str, after: str | None = None) -> None:
        if not (start > 0 and end > 0):
            raise UserError(f"Exponential(start={start}, end={end}): both must be above 0; use Linear or Cosine")
        super().__init__(start, end, over, after)

    def at(self, part: float) -> float:
        return self.start * (self.end / self.start) ** min(1.0, part)


class Cosine(Coefficient):
    """From start to end along half a cosine, then end."""

    def at(self, part: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * min(1.0, part))) / 2


class Cyclic(Coefficient):
    """From start to end in a line within the first `rise` of each cycle, end for its rest; `over` is one cycle.

    Source: Fu et al. 2019, "Cyclical annealing schedule" (1903.10145), eq. 6 and 7, where the rise is half a cycle.

    Raises:
        UserError: `rise` is not in (0, 1].
    """

    def __init__(self, start: float, end: float, over: str, after: str | None = None, rise: float = 0.5) -> None:
        if not 0 < rise <= 1:
            raise UserError(f"rise={rise}: it is a part of the cycle, in (0, 1]")
        self.rise = rise
        super().__init__(start, end, over, after)

    def at(self, part: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, part % 1.0 / self.rise)


def coefficient(name: str, value: float | Coefficient, low: float = 0.0) -> Coefficient:
    """`value` as a coefficient; `name` is the constructor's argument, for the message.

    Raises:
        UserError: it is no number and no coefficient, or goes below `low`.
    """
    if not isinstance(value, Coefficient):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{name}={value}: give a number, or a schedule such as frame.common.schedules.Linear")
        value = Constant(value)
    if not value.bounds[0] >= low:
        raise UserError(f"{name}={value.bounds[0]:g}: it must be at least {low:g}")
    return value
