"""How long, and how often: '20 epochs', '500 iterations', '1 hour 30 minutes', 'end'."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from frame.common.errors import UserError, choices

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
EXAMPLES = "write '20 epochs', '500 iterations', '90 seconds' or '1 hour 30 minutes'"


@dataclass(frozen=True)
class Duration:
    """An amount of one counter that the optimization keeps; times are counted in 'seconds' of training."""

    amount: float
    counter: str

    def __str__(self) -> str:
        return f"{self.amount:g} {self.counter}"

    def check(self, counters: Iterable[str], *, key: str) -> None:
        """Raises UserError where the optimization does not keep this counter."""
        if self.counter not in counters:
            raise UserError(
                f"{key}: {choices(self.counter, {*counters, *(unit + 's' for unit in SECONDS)}, kind='unit')}"
            )

    def reached(self, counters: dict[str, float]) -> bool:
        return counters[self.counter] >= self.amount

    def next_after(self, now: float) -> float:
        """The first multiple of the amount that lies after `now`."""
        return (math.floor(now / self.amount) + 1) * self.amount


def parse(text: object, *, key: str) -> Duration:
    """Reads a duration; `key` is where it stands, for the message.

    Raises:
        UserError: it is no amount and unit, or not above 0.
    """
    parts = re.findall(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([A-Za-z_]+)", str(text))
    if not parts or re.sub(r"[\s,]|and", "", str(text)) != re.sub(r"and", "", "".join(a + u for a, u in parts)):
        raise UserError(f"{key}: '{text}' is no duration: {EXAMPLES}")
    try:
        amounts = [(float(amount), unit.lower().removesuffix("s")) for amount, unit in parts]
    except ValueError:
        raise UserError(f"{key}: '{text}' is no duration: {EXAMPLES}") from None
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
    """How long to train: the trainer's limits where one is set, else `train_for`."""
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
    """How often a checkpoint is written; None: only at the end."""
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
