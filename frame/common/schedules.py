"""Numbers that may change while a model trains: a number, or a schedule in its place.

All of them use this: a learning rate, a weight decay, Adam's betas, the weight of a loss, a teacher's decay, a
temperature. In YAML a schedule replaces the number:

    params:
      beta: {_target_: frame.common.schedules.Linear, start: 0.0, end: 1.0, over: 10 epochs}
    optimization:
      optimizer:
        lr: {_target_: frame.common.schedules.Cosine, start: 1e-3, end: 0.0, warmup: 5%}

Lengths are durations ('10 epochs', '500 iterations') or shares of the run ('5%', '2/3 of the run'), and are counted in
iterations, which are batches. A step has the value for the iterations before it: the first step has the value at 0.
A value does not change while gradients accumulate. After its end a schedule keeps its last value.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from frame.common.durations import Duration, Length, RunLength, Share, parse_length
from frame.common.errors import UserError


class Coefficient(nn.Module):
    """A scalar buffer that may follow a schedule; called without arguments, it returns its value now, of shape ().

    A subclass defines `after_warmup(position)`, the value at a position after the warm-up, and `bounds`.

    Args:
        first: the value at position 0 after the warm-up.
        warmup: over this length the value rises from 0 to `first`: step i of n, counted from 1, has i / n of it.
        lengths: further lengths, by the arguments' names. None means one that was not given.

    Raises:
        UserError: a length is neither a duration nor a share of the run.
    """

    value: Tensor

    def __init__(self, first: float, warmup: str | None = None, **lengths: str | None) -> None:
        super().__init__()
        given = {"warmup": warmup, **lengths}
        self.lengths: dict[str, Length] = {
            name: parse_length(text, key=name, zero=name in ("warmup", "after"))
            for name, text in given.items()
            if text is not None
        }
        self.counts: dict[str, float] = {}  # the lengths in `counter`, once they are known
        self.counter = ""
        self.step = 1  # iterations of an optimizer step
        durations = [length for length in self.lengths.values() if isinstance(length, Duration)]
        if len(durations) == len(self.lengths) and len({length.counter for length in durations if length.amount}) <= 1:
            self._count(dict(zip(self.lengths, durations, strict=True)))  # in one unit, so that no run is needed
        self.register_buffer("value", torch.tensor(float(first)))

    def forward(self) -> Tensor:
        return self.value

    def after_warmup(self, position: float) -> float:
        """The value at a position >= 0 after the warm-up, in `counter`."""
        raise NotImplementedError

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value, without the warm-up."""
        raise NotImplementedError

    @property
    def changes(self) -> bool:
        return True

    @property
    def follows_the_run(self) -> bool:
        """Whether a longer run makes it longer."""
        return any(isinstance(length, Share) for length in self.lengths.values())

    def length(self) -> float:
        """The length of the change, in `counter`."""
        return sum(self.counts.values())

    def ended(self, counters: Mapping[str, float]) -> bool:
        """Whether its change is over after the completed iterations. Call `bind` first."""
        return counters[self.counter] >= self.length() * (1 - 1e-9)

    def bind(self, run: RunLength, key: str) -> None:
        """Counts its lengths in a run; `key` names it in messages.

        Raises:
            UserError: a length's unit is unknown, they cannot be counted in one unit, or the run ends before it.
        """
        counted = {name: run.counted(length, key=f"{key}.{name}") for name, length in self.lengths.items()}
        counters = sorted({length.counter for length in counted.values() if length.amount})
        if len(counters) > 1:
            raise UserError(f"{key}: its lengths are in {' and '.join(counters)}: give all of them in one unit")
        self.step = run.step
        self._count(counted, run, key)
        run.check_fits(self.length(), self.counter, key=key)

    def _count(self, lengths: Mapping[str, Duration], run: RunLength | None = None, key: str = "") -> None:
        self.counter = next((length.counter for length in lengths.values() if length.amount), "iterations")
        self.counts = {name: length.amount for name, length in lengths.items()}

    def now(self, counters: Mapping[str, float]) -> float:
        """The value for the counters of the completed iterations.

        Raises:
            UserError: the optimization does not keep the schedule's counter, or its lengths are not known yet.
        """
        if not self.counter:
            raise UserError(f"a {type(self).__name__} has shares of a run, and no run is known: call bind first")
        Duration(1.0, self.counter).check(counters, key=type(self).__name__)
        position, warmup = counters[self.counter], self.counts.get("warmup", 0.0)
        if position < warmup:
            step = self.step if self.counter == "iterations" else 0
            return self.after_warmup(0.0) * min(1.0, (position + step) / warmup)
        return self.after_warmup(position - warmup)

    def advance(self, counters: Mapping[str, float]) -> None:
        """Sets the value for the counters; raises the errors of `now`."""
        self.value.fill_(self.now(counters))


class Constant(Coefficient):
    """A constant value after its warm-up. A plain number becomes one without a warm-up."""

    def __init__(self, value: float, warmup: str | None = None) -> None:
        super().__init__(value, warmup)
        self.start = float(value)
        # without a warm-up it is not in the checkpoint, because it is in the config
        self.register_buffer("value", torch.tensor(self.start), persistent=warmup is not None)

    def after_warmup(self, position: float) -> float:
        return self.start

    @property
    def bounds(self) -> tuple[float, float]:
        return self.start, self.start

    @property
    def changes(self) -> bool:
        return "warmup" in self.lengths

    def __str__(self) -> str:
        return f"{self.start:g}"


class Shape(Coefficient):
    """From one value to another. A subclass defines the values between them in `at(part)`.

    Args:
        start, end: the values at the two ends.
        over: length of the change, such as '10 epochs', '5000 iterations' or '50%'; None: the rest of the run.
        after: length of the first value, between the warm-up and the change.
        warmup: length over which the value rises from 0 to `start`.

    Raises:
        UserError: a length is neither a duration nor a share of the run.
    """

    def __init__(
        self,
        start: float,
        end: float,
        over: str | None = None,
        after: str | None = None,
        warmup: str | None = None,
        **lengths: str | None,
    ) -> None:
        self.start, self.end = float(start), float(end)
        super().__init__(self.at(0.0), warmup, after=after, over=over, **lengths)

    def at(self, part: float) -> float:
        """The value at a share >= 0 of the change, which is 0 at its beginning and 1 at its end."""
        raise NotImplementedError

    def after_warmup(self, position: float) -> float:
        return self.at(max(0.0, position - self.counts.get("after", 0.0)) / self.counts["over"])

    @property
    def bounds(self) -> tuple[float, float]:
        return min(self.start, self.end), max(self.start, self.end)

    @property
    def follows_the_run(self) -> bool:
        return super().follows_the_run or "over" not in self.lengths

    def length(self) -> float:
        return sum(self.counts.get(name, 0.0) for name in ("warmup", "after", "over"))

    def _count(self, lengths: Mapping[str, Duration], run: RunLength | None = None, key: str = "") -> None:
        if "over" in lengths:
            super()._count(lengths, run, key)
        elif run is not None:
            end = run.end
            before = [length for length in lengths.values() if length.amount]
            if any(length.counter != end.counter for length in before):
                raise UserError(
                    f"{key}: the run is counted in {end.counter}: write shares of it such as '5%', or `over` in "
                    f"{before[0].counter} too"
                )
            rest = end.amount - sum(length.amount for name, length in lengths.items() if name in ("warmup", "after"))
            if rest <= 0:
                run.check_fits(end.amount - rest + 1, end.counter, key=key)
            super()._count({**lengths, "over": Duration(max(rest, 1.0), end.counter)}, run, key)

    def __str__(self) -> str:
        return f"{type(self).__name__} from {self.start:g} to {self.end:g}"


class Linear(Shape):
    """From start to end along a line, then end."""

    def at(self, part: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, part)


class Exponential(Shape):
    """From start to end exponentially, then end: value = start * (end / start) ^ part.

    Args:
        start, end, over, after, warmup: as for `Linear`; both values must be above 0.
        every: the value changes only at multiples of this length; None: in each step.

    Raises:
        UserError: start or end is not above 0.
    """

    def __init__(
        self,
        start: float,
        end: float,
        over: str | None = None,
        after: str | None = None,
        warmup: str | None = None,
        every: str | None = None,
    ) -> None:
        if not (start > 0 and end > 0):
            raise UserError(f"Exponential(start={start}, end={end}): both must be above 0; use Linear or Cosine")
        super().__init__(start, end, over, after, warmup, every=every)

    def at(self, part: float) -> float:
        return self.start * (self.end / self.start) ** min(1.0, part)

    def after_warmup(self, position: float) -> float:
        every, wait = self.counts.get("every"), self.counts.get("after", 0.0)
        if every and position > wait:
            position = wait + (position - wait) // every * every
        return super().after_warmup(position)


class Cosine(Shape):
    """From start to end along half a cosine, then end (Loshchilov & Hutter 2017, 1608.03983, eq. 5)."""

    def at(self, part: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * min(1.0, part))) / 2


class Logistic(Shape):
    """From start along the upper half of a logistic curve, fast first, then its last value, 0.01 % short of end.

    value = start + (end - start) (2 / (1 + exp(-10 part)) - 1): Ganin et al. 2016 (1505.07818), section 5.2.2.
    """

    def at(self, part: float) -> float:
        return self.start + (self.end - self.start) * math.tanh(5 * min(1.0, part))


class Cyclic(Shape):
    """From start to end along a line in the first `rise` of each cycle, then end; `over` is one cycle.

    Source: Fu et al. 2019, "Cyclical annealing schedule" (1903.10145), eq. 6 and 7, where the rise is half a cycle.

    Raises:
        UserError: `rise` is not in (0, 1].
    """

    def __init__(
        self,
        start: float,
        end: float,
        over: str | None = None,
        after: str | None = None,
        rise: float = 0.5,
        warmup: str | None = None,
    ) -> None:
        if not 0 < rise <= 1:
            raise UserError(f"rise={rise}: it is a share of the cycle, in (0, 1]")
        self.rise = rise
        super().__init__(start, end, over, after, warmup)

    def at(self, part: float) -> float:
        return self.start + (self.end - self.start) * min(1.0, part % 1.0 / self.rise)


class Stages(Coefficient):
    """start * factors[i] until ends[i], and the last factor after the last end.

    Args:
        start: the value that the factors multiply.
        factors: one more than `ends`.
        ends: increasing lengths, such as ['10 epochs', '20 epochs'], counted from the end of the warm-up.
        warmup: length over which the value rises from 0.

    Raises:
        UserError: there is not one factor more than ends; from `bind`, the ends do not increase.
    """

    def __init__(self, start: float, factors: Sequence[float], ends: Sequence[str], warmup: str | None = None) -> None:
        if not ends or len(factors) != len(ends) + 1:
            raise UserError(f"Stages: {len(factors)} factors and {len(ends)} ends: give one factor more than ends")
        self.start, self.factors = float(start), [float(factor) for factor in factors]
        super().__init__(self.start * self.factors[0], warmup, **{f"ends.{i}": end for i, end in enumerate(ends)})

    def _count(self, lengths: Mapping[str, Duration], run: RunLength | None = None, key: str = "") -> None:
        super()._count(lengths, run, key)
        self.ends = [amount for name, amount in self.counts.items() if name != "warmup"]
        if self.ends != sorted(set(self.ends)):
            raise UserError(f"{key or 'Stages'}: ends={self.ends}: each must be above the one before")

    def after_warmup(self, position: float) -> float:
        return self.start * self.factors[bisect_right(self.ends, position)]

    @property
    def bounds(self) -> tuple[float, float]:
        values = [self.start * factor for factor in self.factors]
        return min(values), max(values)

    def length(self) -> float:
        return self.counts.get("warmup", 0.0) + self.ends[-1]

    def __str__(self) -> str:
        return f"Stages from {self.start * self.factors[0]:g} to {self.start * self.factors[-1]:g}"


def coefficient(name: str, value: float | Coefficient, low: float = 0.0) -> Coefficient:
    """Converts a value to a coefficient; `name` is the constructor's argument, for the message.

    Raises:
        UserError: it is neither a number nor a coefficient, or falls below `low`.
    """
    if not isinstance(value, Coefficient):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{name}={value}: give a number, or a schedule such as frame.common.schedules.Linear")
        value = Constant(value)
    if not value.bounds[0] >= low:
        raise UserError(f"{name}={value.bounds[0]:g}: it must be at least {low:g}")
    return value


def coefficients_in(value: object) -> list[Coefficient]:
    """The coefficients of a value: itself, or those in a list such as Adam's betas."""
    if isinstance(value, list | tuple):
        return [found for one in value for found in coefficients_in(one)]
    return [value] if isinstance(value, Coefficient) else []


def changes(value: object) -> bool:
    """Whether a value is a schedule, or a list that contains one."""
    return any(found.changes for found in coefficients_in(value))
