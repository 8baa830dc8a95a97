"""How long, and how often: '20 epochs', '500 iterations', '1 hour 30 minutes', 'end'."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from frame.mistakes import Mistake, choices

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
        """Raises Mistake where the optimization does not keep this counter."""
        if self.counter not in counters:
            raise Mistake(
                f"{key}: {choices(self.counter, [*counters, *(unit + 's' for unit in SECONDS)], kind='unit')}"
            )

    def reached(self, counters: dict[str, float]) -> bool:
        return counters[self.counter] >= self.amount

    def next_after(self, now: float) -> float:
        """The first multiple of the amount that lies after `now`."""
        return (math.floor(now / self.amount) + 1) * self.amount


def parse(text: object, *, key: str) -> Duration:
    """Reads a duration; `key` is where it stands, for the message.

    Raises:
        Mistake: it is no amount and unit, or not above 0.
    """
    parts = re.findall(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([A-Za-z_]+)", str(text))
    if not parts or re.sub(r"[\s,]|and", "", str(text)) != re.sub(r"and", "", "".join(a + u for a, u in parts)):
        raise Mistake(f"{key}: '{text}' is no duration: {EXAMPLES}")
    try:
        amounts = [(float(amount), unit.lower().removesuffix("s")) for amount, unit in parts]
    except ValueError:
        raise Mistake(f"{key}: '{text}' is no duration: {EXAMPLES}") from None
    if all(unit in SECONDS for _, unit in amounts):
        duration = Duration(sum(amount * SECONDS[unit] for amount, unit in amounts), "seconds")
    elif len(amounts) == 1:
        duration = Duration(amounts[0][0], amounts[0][1] + "s")
    else:
        raise Mistake(f"{key}: '{text}' mixes units: {EXAMPLES}")
    if not duration.amount > 0:
        raise Mistake(f"{key}: '{text}' is not above 0: {EXAMPLES}")
    return duration
