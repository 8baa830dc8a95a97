"""Mistakes of the person at the keyboard: one line that names the mistake and the nearest right answer."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Ends a command with its message on stderr, exit code 2 and no traceback."""


class Damaged(UserError):
    """A file of a run's folder is not what a run writes: says which, what is wrong, and what to do."""


class NoNumber(UserError):
    """What is measured gives no number: codes that are constant or not finite. A run goes on without it."""


class TooFew(NoNumber):
    """Too few rows for a measure. The dry run, which has four, goes on."""


def choices(wrong: str, valid: Iterable[str], *, kind: str) -> str:
    """`no <kind> 'wrong': did you mean 'right'? There are: a, b, c`."""
    names = sorted(valid)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else "."
    there = f" There are: {', '.join(names)}" if names else " There are none."
    return f"no {kind} '{wrong}'{hint}{there}"


def at_least(minimum: float, **values: float | None) -> None:
    """Raises UserError where one of the named values is below `minimum` or not a number; None stands for no limit."""
    for name, value in values.items():
        if value is not None and not value >= minimum:
            raise UserError(f"{name}={value}: it must be at least {minimum}")
