"""Handles of running cells, by which they are watched and ended, here and on a cluster's node."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from frame.sweeps.workers import holding, lives


class Handle(Protocol):
    def poll(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        ...

    def stop(self) -> None:
        """Asks the run to save and end."""
        ...


class Started:
    """A handle of two functions."""

    def __init__(self, poll: Callable[[], int | None], stop: Callable[[], None]) -> None:
        self.poll, self.stop = poll, stop


def run_here(
    argv: Sequence[str],
    cwd: str,
    log: str,
    worker: str,
    passes_on: bool = False,
    environment: Mapping[str, str] | None = None,
    ends: Sequence[int] = (),
) -> int:
    """Runs a command to its end and returns its exit code. Does not start it if the worker has died meanwhile.

    Args:
        passes_on: whether to pass SIGTERM on; not if the cluster itself sends it to all processes of a job.
        environment: variables that are added to those of this process.
        ends: signals to this process that make it send SIGTERM to the command.
    """
    with holding(Path(log)) as stream:
        if not lives(Path(worker)):
            return -signal.SIGTERM
        there = {**os.environ, **(environment or {})}
        process = subprocess.Popen(argv, cwd=cwd, stdout=stream, stderr=stream, env=there)
        for number in (*ends, *((signal.SIGTERM,) if passes_on else ())):
            signal.signal(number, lambda number, frame: process.terminate())
        while True:
            try:
                while process.poll() is None:  # Ray's interrupt does not end a longer wait
                    time.sleep(0.1)
                return process.returncode
            except KeyboardInterrupt:  # from Ray: the run saves and ends
                process.terminate()


TERMINAL = (signal.SIGINT, signal.SIGHUP)  # a terminal sends these to all processes of a command


@contextmanager
def not_for_children() -> Iterator[None]:
    """Processes that are started in here, and their children, do not get the terminal's signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL)
