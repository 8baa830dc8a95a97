"""What is shown of an error: one line, and if it was raised in the user's code, the place and the lines around it."""

import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from frame.common.errors import UserError
from frame.common.owned import is_own

WORD = "debug=trace"  # typed after any command, shows the whole traceback
AROUND = 2  # lines before and after the one that failed
tracing = False  # set by the command


@dataclass(frozen=True)
class Place:
    """A line of the user's code."""

    file: str
    line: int
    function: str = ""

    def __str__(self) -> str:
        path = Path(self.file)
        shown = os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else self.file
        within = f", in {self.function}" if self.function and self.function.isidentifier() else ""
        return f"{shown}, line {self.line}{within}"

    @property
    def excerpt(self) -> list[str]:
        """The line and those around it, with their numbers."""
        linecache.checkcache(self.file)
        numbers = range(max(1, self.line - AROUND), self.line + AROUND + 1)
        lines = {number: linecache.getline(self.file, number) for number in numbers}
        return [f"{'>' if n == self.line else ' '} {n:4} | {text.rstrip()}" for n, text in lines.items() if text]


class Elsewhere(Exception):
    """An error of another process, which cannot send its traceback.

    Args:
        what: its kind and message.
        place: where in the user's code it was raised, if it was.
        trace: its traceback as text.
    """

    def __init__(self, what: str, place: Place | None, trace: str) -> None:
        super().__init__(what, place, trace)
        self.what, self.place, self.trace = what, place, trace

    @classmethod
    def of(cls, error: Exception) -> "Elsewhere":
        """The error that is being handled, to be sent to another process."""
        return cls(_what(error), place_of(error), traceback.format_exc())


def place_of(error: BaseException) -> Place | None:
    """The innermost line of the user's code in which an error, or one that led to it, was raised; None if none was."""
    for one in _chain(error):
        if isinstance(one, Elsewhere):
            return one.place
        if isinstance(one, SyntaxError) and one.filename and is_own(one.filename):
            return Place(one.filename, one.lineno or 1)
        own = [frame for frame in traceback.extract_tb(one.__traceback__) if is_own(frame.filename)]
        if own:
            return Place(own[-1].filename, own[-1].lineno or 1, own[-1].name)
    return None


def told(error: BaseException) -> str:
    """The error in one line, and if it was raised in the user's code, the lines around."""
    user = isinstance(error, UserError)
    # a user's error of ours says all that is to say, unless it only passes on another one
    origin = error.__cause__ if user else error
    place = place_of(origin) if origin is not None else None
    what = " ".join(str(error).splitlines()) if user else _what(error)
    notes = getattr(error, "__notes__", [])
    if place is not None:
        lines = [f"{what} ({place})", *place.excerpt, *notes]
        return "\n".join(lines if tracing else [*lines, f"{WORD} shows the whole traceback"])
    if user:
        return what
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return "\n".join(
            [f"{what}: there is not enough memory: make params.batch_size or the networks smaller", *notes]
        )
    hint = "" if tracing else f"; {WORD} shows the whole traceback, to report it with"
    return "\n".join([f"{what}: this is a fault of frame, not of yours{hint}", *notes])


def show(error: BaseException) -> None:
    """Prints an error on stderr, with its traceback if the user has asked for it."""
    print(f"frame: {told(error)}", file=sys.stderr, flush=True)
    if tracing:
        elsewhere = [one.trace for one in _chain(error) if isinstance(one, Elsewhere)]
        print("".join([*elsewhere, *traceback.format_exception(error)]).rstrip(), file=sys.stderr, flush=True)


def _what(error: BaseException) -> str:
    if isinstance(error, Elsewhere):
        return error.what
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
