"""Ctrl-C in a loop over many things."""

import signal
import threading
from types import FrameType


def noticing_interrupts() -> list[int]:
    """Holds something from the first Ctrl-C on, whose exception a library may swallow or turn into another one."""
    noticed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noticed.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, note)
    return noticed
