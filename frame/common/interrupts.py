"""Ctrl-C and other signals in loops over many things."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or another signal that ends a command.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.code = 128 + number  # exit code of the command

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int]]:
        return type(self), (self.number,)


class Stopped(Interrupted):
    """A run that Python started was stopped by a signal, and is saved.

    Args:
        number: number of the signal.
        run: the opened run, whose `resume()` continues it.
        text: one line on where it is and how it goes on.
    """

    def __init__(self, number: int, run: Any, text: str) -> None:
        super().__init__(number)
        self.args, self.run = (text,), run

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the line without a traceback."""
        return [f"frame: {self}"]


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP raise Interrupted. Within `held`, only the second one does.

    A signal that was ignored before stays ignored, as SIGHUP is under `nohup`.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._noticed: list[int] = []
        self._held = False

    def __enter__(self) -> "Interrupts":
        here = threading.current_thread() is threading.main_thread()  # Python delivers signals to no other thread
        heard = [n for n in self.NUMBERS if here and signal.getsignal(n) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A signal in this block raises Interrupted at its end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._noticed:
            raise Interrupted(self._noticed[0])

    @contextmanager
    def counted(self) -> Iterator[None]:
        """A signal in this block ends it even if a library swallows the exception or replaces it."""
        try:
            yield
        finally:
            if self._noticed:
                raise Interrupted(self._noticed[0]) from None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noticed.append(number)
        if not self._held or len(self._noticed) > 1:
            raise Interrupted(self._noticed[0])
