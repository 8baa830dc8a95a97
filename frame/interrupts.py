"""Ctrl-C in loops over many things."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, but not inside what has to be done as a whole; the second one does.

    Args:
        numbers: of the signals; by default Ctrl-C and SIGTERM, but an ignored one, as behind `nohup`, stays ignored.
    """

    def __init__(self, *numbers: int) -> None:
        both = (signal.SIGINT, signal.SIGTERM)
        self._numbers = numbers or tuple(n for n in both if signal.getsignal(n) is not signal.SIG_IGN)
        self._noticed = 0
        self._held = False

    def __enter__(self) -> "Interrupts":
        here = threading.current_thread() is threading.main_thread()  # Python delivers to no other
        self._before = {number: signal.signal(number, self._note) for number in self._numbers if here}
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

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What comes in between ends it also where a library swallows the exception, or makes another one of it."""
        try:
            yield
        finally:
            if self._noticed:
                raise KeyboardInterrupt from None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noticed += 1
        if not self._held or self._noticed > 1:
            raise KeyboardInterrupt
