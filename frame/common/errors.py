"""Errors of the user: one line that names the error and the nearest right answer."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Ends a command with its message on stderr, exit code 2 and no traceback."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message without a traceback."""
        return [f"frame: {self}"]


class Unread(UserError):
    """The next rows cannot be read: their file was changed, or the process that reads them has died.

    Raised between two steps, so that what was trained can be saved and the run resumed.
    """


class Damaged(UserError):
    """A file in a run's folder is damaged. The message names the file, the error and what to do."""


class NoNumber(UserError):
    """A measurement has no value, for example because codes are constant or not finite. The run goes on without it."""


class TooFew(NoNumber):
    """Too few rows for a measure. The dry run, which has four rows, goes on."""


def choices(wrong: str, valid: Iterable[str], *, kind: str) -> str:
    """`no <kind> 'wrong': did you mean 'right'? There are: a, b, c`. Of a long list, the 20 most similar names."""
    names = sorted(valid)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else "."
    long = len(", ".join(names)) > 1000
    shown = sorted(difflib.get_close_matches(wrong, names, n=20, cutoff=0.0)) if long else names
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    there = f" There are: {', '.join(shown)}{more}" if names else " There are none."
    return f"no {kind} '{wrong}'{hint}{there}"


def at_least(minimum: float, **values: float | None) -> None:
    """Raises UserError if a named value is below `minimum` or not a number. None means no limit."""
    for name, value in values.items():
        if value is not None and not value >= minimum:
            raise UserError(f"{name}={value}: it must be at least {minimum}")


class Parted(RuntimeError):
    """Processes that compute together do different things: one has failed alone. None of them can go on."""
