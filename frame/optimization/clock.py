"""Seconds of training. The time of evaluations and checkpoints does not count."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """A clock that does not run before `start`, nor within `paused`."""

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        running = time.monotonic() - self._since if self._since is not None else 0.0
        return self._before + running

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._before = value
        if self._since is not None:
            self._since = time.monotonic()

    def start(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def stop(self) -> None:
        self._before, self._since = self.seconds, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        was_running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if was_running:
                self.start()
