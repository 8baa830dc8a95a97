"""Notes of what was evaluated in a run's folder, so that a complete run is recognised without opening it."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame.common.errors import UserError
from frame.runs import checkpoints
from frame.runs.journal import UNLOCKABLE, Journal

if TYPE_CHECKING:
    from filelock import FileLock

FILE = "evaluated.jsonl"  # a line for each completed evaluation and each opened checkpoint
LOCK = "evaluate.lock"  # held by the process that evaluates the run


class Notes:
    """The notes of one run, as they were when they were last read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / FILE)
        self.lines = self.journal.read(_fits)

    def refresh(self) -> None:
        """Reads the notes again, to see those of other processes."""
        self.lines = self.journal.read(_fits)

    def add(self, **line: Any) -> None:
        """Appends a note on data that are already on disk.

        Raises:
            OSError: as `Journal.append`.
        """
        self.journal.append(line, sync=True)
        self.lines.append(line)

    def done(self, since: int = 0) -> set[str]:
        """Keys of completed evaluations, in the notes from line `since` on."""
        return {line["key"] for line in self.lines[since:] if "key" in line and "name" in line}

    def next(self, key: str) -> str:
        """The name for the next completed evaluation with this key."""
        return f"{key}-{sum(line.get('key') == key for line in self.lines)}"

    def newest(self, key: str) -> str:
        """The name of the last completed evaluation with this key."""
        return f"{key}-{sum(line.get('key') == key for line in self.lines) - 1}"

    def opened(self, checkpoint: str) -> tuple[int, str] | None:
        """Iteration of an opened checkpoint, and the weights that the config names; None if the files have changed."""
        files = self.stamp(checkpoint)
        for line in reversed(self.lines):
            if files is not None and line.get("files") == files and line.get("checkpoint") == checkpoint:
                return int(line["iteration"]), str(line["weights"])
        return None

    def note_opened(self, files: list[int] | None, checkpoint: str, iteration: int, weights: str) -> None:
        """Notes the content of a checkpoint that was opened while the files had this stamp.

        Raises:
            OSError: as `add`.
        """
        if files is not None and files == self.stamp(checkpoint) and self.opened(checkpoint) is None:
            self.add(files=files, checkpoint=checkpoint, iteration=iteration, weights=weights)

    def stamp(self, checkpoint: str) -> list[int] | None:
        """Sizes and times of config and checkpoint; None if a file is missing, as in an export."""
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
    """Holds the run's lock for evaluations, so that two processes do not measure the same at once.

    Yields why there is no lock if the folder cannot be written; nothing can be recorded in it then.

    Args:
        folder: the run's folder.
        patience: seconds to wait for the process that holds the lock, counted from its last note.
        waiting: called once if the lock is held by another process.

    Raises:
        Busy: that process noted nothing for `patience` seconds.
    """
    from filelock import FileLock  # not needed to look at runs

    lock = FileLock(folder / LOCK, blocking=False, thread_local=False)
    try:
        _wait(lock, folder, patience, waiting)
    except OSError as error:
        yield error
        return
    try:
        yield None
    finally:
        lock.release()


def _wait(lock: "FileLock", folder: Path, patience: float, waiting: Callable[[], None]) -> None:
    notes = folder / FILE
    began, noted, said = time.monotonic(), -1, False
    while True:
        try:
            lock.acquire()
            return
        except TimeoutError:
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
