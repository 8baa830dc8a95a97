"""Ctrl-C in loops over many things."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def noticing_interrupts() -> Iterator[list[int]]:
    """Holds something from the first Ctrl-C on, whose exception a library may swallow or turn into another one."""
    noticed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noticed.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python delivers none
        yield noticed
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGINT, before)


class Interrupts:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, but not inside what has to be done as a whole; the second one does.

    An ignored Ctrl-C, as behind `nohup`, stays ignored.
    """

    def __init__(self) -> None:
        self._noticed = 0
        self._held = False

    def __enter__(self) -> "Interrupts":
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What comes in between is raised at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._noticed:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noticed += 1
        if not self._held or self._noticed > 1:
            raise KeyboardInterrupt
