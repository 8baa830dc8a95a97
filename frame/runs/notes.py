"""What was evaluated in a run's folder: notes by which a complete run is recognised without opening it."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from frame.common.errors import UserError
from frame.runs import checkpoints
from frame.runs.journal import UNLOCKABLE, Journal

FILE = "evaluated.jsonl"  # a line for each evaluation that was completed, and for each checkpoint that was opened
LOCK = "evaluate.lock"  # held by whoever evaluates the run


class Notes:
    """The notes of one run, as they stood when they were last read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / FILE)
        self.lines = self.journal.read(_fits)

    def refresh(self) -> None:
        """Reads again what others have noted meanwhile."""
        self.lines = self.journal.read(_fits)

    def add(self, **line: Any) -> None:
        """Notes what is on disk already.

        Raises:
            OSError: as `Journal.append`.
        """
        self.journal.append(line, sync=True)
        self.lines.append(line)

    def done(self, since: int = 0) -> set[str]:
        """Keys of what was completed, as the notes from the line `since` on say."""
        return {line["key"] for line in self.lines[since:] if "key" in line and "name" in line}

    def next(self, key: str) -> str:
        """The name under which its next completion is recorded."""
        return f"{key}-{sum(line.get('key') == key for line in self.lines)}"

    def opened(self, checkpoint: str) -> tuple[int, str] | None:
        """Iteration of a checkpoint that was opened, and the weights that the config names; None if files changed."""
        files = self.stamp(checkpoint)
        for line in reversed(self.lines):
            if files is not None and line.get("files") == files and line.get("checkpoint") == checkpoint:
                return int(line["iteration"]), str(line["weights"])
        return None

    def note_opened(self, files: list[int] | None, checkpoint: str, iteration: int, weights: str) -> None:
        """Notes what a checkpoint held that was opened while the files had this stamp.

        Raises:
            OSError: as `add`.
        """
        if files is not None and files == self.stamp(checkpoint) and self.opened(checkpoint) is None:
            self.add(files=files, checkpoint=checkpoint, iteration=iteration, weights=weights)

    def stamp(self, checkpoint: str) -> list[int] | None:
        """Sizes and times of config and checkpoint; None where there is no such file, as in an export."""
        try:
            files = [file for file in checkpoints.files(self.folder, checkpoint) if file.exists()]
            found = [file.stat() for file in (self.folder / "config.yaml", files[0])]
        except (OSError, IndexError):
            return None
        return [number for stat in found for number in (stat.st_size, stat.st_mtime_ns)]


class Busy(UserError):
    """Another process evaluates the run."""


@contextmanager
def evaluating_alone(folder: Path, patience: float, waiting: Callable[[], None]) -> Iterator[OSError | None]:
    """Holds the run's lock for evaluations, so that two of them do not measure the same at once.

    Gives why there is no lock where the folder cannot be written, and nothing can be recorded in it.

    Args:
        folder: the run's.
        patience: seconds to wait for the process that holds it, counted from the last time that it noted something.
        waiting: called once where it has to be waited for.

    Raises:
        Busy: it was waited for in vain.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        yield error
        return
    try:
        _wait(handle, folder, patience, waiting)
        yield None
    finally:
        os.close(handle)


def _wait(handle: int, folder: Path, patience: float, waiting: Callable[[], None]) -> None:
    notes = folder / FILE
    began, noted, said = time.monotonic(), -1, False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in UNLOCKABLE:
                return
            raise
        size = notes.stat().st_size if notes.exists() else 0
        if size != noted:
            began, noted = time.monotonic(), size
        if time.monotonic() - began >= patience:
            minutes = f"{patience / 60:.3g} min"
            raise Busy(
                f"{folder} is evaluated by another process, which has found nothing for {minutes}: "
                "run this again when it has ended"
            )
        if not said:
            waiting()
        said = True
        time.sleep(0.1)


def key_of(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _fits(line: dict[str, Any]) -> bool:
    """Whether it notes an evaluation or an opened checkpoint."""
    if "key" in line:
        return isinstance(line["key"], str) and isinstance(line.get("name"), str)
    return isinstance(line.get("iteration"), int) and isinstance(line.get("weights"), str)
