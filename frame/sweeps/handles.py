"""A cell that runs: how it is asked after and ended, here and on a cluster's node."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from frame.sweeps.workers import holding, lives


class Handle(Protocol):
    def poll(self) -> int | None:
        """The exit code, minus the signal's number where one ended it; None while it runs."""
        ...

    def stop(self) -> None:
        """Asks the run to save and end."""
        ...


class Started:
    """A handle of two functions."""

    def __init__(self, poll: Callable[[], int | None], stop: Callable[[], None]) -> None:
        self.poll, self.stop = poll, stop


def run_here(argv: Sequence[str], cwd: str, log: str, worker: str, passes_on: bool = False) -> int:
    """Runs a command to its end; its exit code. Nothing where the worker died meanwhile: its cells are others'.

    Args:
        passes_on: SIGTERM; a cluster that sends it to all of a job's processes itself would kill by the second one.
    """
    with holding(Path(log)) as stream:
        if not lives(Path(worker)):
            return -signal.SIGTERM
        process = subprocess.Popen(argv, cwd=cwd, stdout=stream, stderr=stream)
        if passes_on:
            signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
        while True:
            try:
                while process.poll() is None:  # what Ray sends does not end a wait
                    time.sleep(0.1)
                return process.returncode
            except KeyboardInterrupt:  # from Ray: the run saves and ends
                process.terminate()


TERMINAL = (signal.SIGINT, signal.SIGHUP)  # what a terminal sends to all processes of a command


@contextmanager
def not_for_children() -> Iterator[None]:
    """What the terminal sends is for us alone: processes that start in here do not get it, nor do theirs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL)
