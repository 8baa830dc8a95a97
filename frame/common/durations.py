"""How long, and how often: '20 epochs', '500 iterations', '1 hour 30 minutes'; and shares of a run: '5%'."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from omegaconf import DictConfig, OmegaConf

from frame.common.errors import UserError, choices

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
EXAMPLES = "write '20 epochs', '500 iterations', '90 seconds' or '1 hour 30 minutes'"
LENGTHS = "write '10 epochs', '500 iterations', or a share of the run: '5%' or '2/3 of the run'"


@dataclass(frozen=True)
class Duration:
    """An amount of one counter that the optimization keeps; times are counted in 'seconds' of training."""

    amount: float
    counter: str

    def __str__(self) -> str:
        return f"{self.amount:g} {self.counter.removesuffix('s') if self.amount == 1 else self.counter}"

    def check(self, counters: Iterable[str], *, key: str) -> None:
        """Raises UserError if the optimization does not keep this counter."""
        if self.counter not in counters:
            raise UserError(
                f"{key}: {choices(self.counter, {*counters, *(unit + 's' for unit in SECONDS)}, kind='unit')}"
            )

    def reached(self, counters: dict[str, float]) -> bool:
        return counters[self.counter] >= self.amount

    def next_after(self, now: float) -> float:
        """The first multiple of the amount after `now`."""
        return (math.floor(now / self.amount) + 1) * self.amount


@dataclass(frozen=True)
class Share:
    """A share of the run, in (0, 1]; a fraction, so that a third of 3,150 iterations is a whole number."""

    part: Fraction

    def __str__(self) -> str:
        return f"{float(100 * self.part):g}% of the run"


Length = Duration | Share


@dataclass(frozen=True)
class RunLength:
    """The length of a run. It converts lengths in any unit to counts of one counter.

    Args:
        limits: the run ends at the first of them.
        iterations: iterations per unit, such as {'iterations': 1, 'epochs': 21}.
        step: iterations of one optimizer step.
        counters: the optimization's counters.
        cut: the run may end before its schedules do.
    """

    limits: tuple[Duration, ...]
    iterations: Mapping[str, float]
    counters: tuple[str, ...]
    step: int = 1
    cut: bool = False

    @property
    def end(self) -> Duration:
        """The end of the run in iterations, or in seconds if it is limited only by time."""
        counted = [self._in_iterations(limit) for limit in self.limits]
        known = [limit for limit in counted if limit.counter == "iterations"]
        return min(known, key=lambda limit: limit.amount) if known else counted[0]

    def counted(self, length: Length, *, key: str) -> Duration:
        """The length in iterations, or in its own counter if that cannot be converted, such as seconds.

        Raises:
            UserError: the optimization does not keep the counter; or a length in seconds, in a run of iterations.
        """
        if isinstance(length, Share):
            return Duration(float(length.part * Fraction(self.end.amount)), self.end.counter)
        length.check(self.counters, key=key)
        found = self._in_iterations(length)
        if found.counter == "seconds" and self.end.counter != "seconds":
            raise UserError(f"{key}={length} depends on the machine's speed, and the run does not: {LENGTHS}")
        return found

    def check_fits(self, total: float, counter: str, *, key: str) -> None:
        """Raises UserError if the run ends before something that takes `total`."""
        end = self.end
        if not self.cut and counter == end.counter and total > end.amount * (1 + 1e-9):
            raise UserError(
                f"{key} lasts {total:g} {counter}, and the run {end.amount:g}: write shares of the run such as '5%', a "
                "longer train_for, or cut_schedules=true to train up to the middle of it"
            )

    def _in_iterations(self, length: Duration) -> Duration:
        if length.counter not in self.iterations:
            return length
        return Duration(length.amount * self.iterations[length.counter], "iterations")


def parse_length(text: object, *, key: str, zero: bool = False) -> Length:
    """Reads a duration or a share of the run; with `zero`, one that may be 0.

    Raises:
        UserError: it is neither, is negative or 0, or is more than the run.
    """
    words = str(text).strip().removesuffix("of the run").strip()
    share = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]*)?|-?\.[0-9]+)\s*%|(-?[0-9]+)\s*/\s*([1-9][0-9]*)", words)
    if share is None:
        amount = re.match(r"\s*(-?)\s*([0-9.]*)", str(text))
        assert amount is not None
        if amount[1]:
            raise UserError(f"{key}={text}: a length cannot be negative: {LENGTHS}")
        if zero and re.fullmatch(r"0+\.?0*\s*[A-Za-z_]+", str(text).strip()):
            return Duration(0.0, "iterations")
        try:
            return parse(text, key=key)
        except UserError as error:
            raise UserError(str(error).replace(EXAMPLES, LENGTHS)) from None
    part = Fraction(share[1]) / 100 if share[1] is not None else Fraction(int(share[2]), int(share[3]))
    if part < 0 or part == 0 and not zero:
        raise UserError(f"{key}={text}: a length must be above 0: {LENGTHS}")
    if part > 1:
        raise UserError(f"{key}={text} is more than the whole run: {LENGTHS}")
    return Share(part)


def parse(text: object, *, key: str) -> Duration:
    """Reads a duration; `key` names it in messages.

    Raises:
        UserError: it is not an amount and a unit, or not above 0.
    """
    parts = re.findall(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([A-Za-z_]+)", str(text))
    if not parts or re.sub(r"[\s,]|and", "", str(text)) != re.sub(r"and", "", "".join(a + u for a, u in parts)):
        raise UserError(f"{key}: '{text}' is not a duration: {EXAMPLES}")
    try:
        amounts = [(float(amount), unit.lower().removesuffix("s")) for amount, unit in parts]
    except ValueError:
        raise UserError(f"{key}: '{text}' is not a duration: {EXAMPLES}") from None
    if all(unit in SECONDS for _, unit in amounts):
        duration = Duration(sum(amount * SECONDS[unit] for amount, unit in amounts), "seconds")
    elif len(amounts) == 1:
        duration = Duration(amounts[0][0], amounts[0][1] + "s")
    else:
        raise UserError(f"{key}: '{text}' mixes units: {EXAMPLES}")
    if not duration.amount > 0:
        raise UserError(f"{key}: '{text}' is not above 0: {EXAMPLES}")
    if not 1e-9 <= duration.amount <= 1e15:
        raise UserError(f"{key}: '{text}' is out of all bounds: {EXAMPLES}")
    return duration


def limits_of(config: DictConfig) -> list[Duration]:
    """How long to train: the trainer's limits if one is set, else `train_for`."""
    trainer = config.trainer
    limits = []
    for key, unit in (("max_epochs", "epochs"), ("max_steps", "iterations")):
        value = trainer.get(key)
        if value is None or value == -1:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"trainer.{key}={value}: write a whole number, at least 1; or train_for='{value} {unit}'")
        limits.append(parse(f"{value} {unit}", key=f"trainer.{key}"))
    if trainer.get("max_time") is not None:
        limits.append(_time(trainer.max_time))
    return limits or [parse(config.train_for, key="train_for")]


def save_interval(config: DictConfig) -> Duration | None:
    """How often a checkpoint is written; None means only at the end."""
    every = config.checkpoint.every
    return None if every is None else parse(every, key="checkpoint.every")


def _time(value: Any) -> Duration:
    """Lightning's `max_time`: 'DD:HH:MM:SS' or a mapping of units."""
    key = "trainer.max_time"
    said = f"{key}={value}: write DD:HH:MM:SS in quotes, or train_for='90 seconds'"
    if OmegaConf.is_dict(value):
        for unit, amount in value.items():
            if (
                f"{unit}".removesuffix("s") not in SECONDS
                or isinstance(amount, bool)
                or not isinstance(amount, int | float)
            ):
                raise UserError(said)
        return parse(" ".join(f"{amount} {unit}" for unit, amount in value.items()), key=key)
    if not re.fullmatch(r"[0-9]+:[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}", str(value)):
        raise UserError(said)
    units = zip(("days", "hours", "minutes", "seconds"), str(value).split(":"), strict=True)
    return parse(" ".join(f"{amount} {unit}" for unit, amount in units), key=key)
