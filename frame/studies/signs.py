"""Signs of life in a study's folder: of its workers, and of the cells that run, whoever has started them."""

import fcntl
import os
import socket
import threading
import uuid
from pathlib import Path
from typing import IO

HEARTBEAT = 5.0  # seconds between two signs of life
SILENCE = 12 * HEARTBEAT  # after which a worker on another machine is taken for dead


class Worker:
    """A sign of life in the study's folder, for as long as the process runs."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.file = folder / self.name
        folder.mkdir(parents=True, exist_ok=True)
        self.file.touch()
        self._stop = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            self.file.touch()

    def close(self) -> None:
        self._stop.set()
        self.file.unlink(missing_ok=True)

    def lives(self, name: str) -> bool:
        """Whether another worker lives."""
        return lives(self.file.parent / name)


def lives(file: Path) -> bool:
    """Whether the worker of this file lives: its process on this machine, a recent sign of life elsewhere."""
    host, pid, _ = file.name.rsplit("-", 2)
    if not file.exists():
        return False
    if host == socket.gethostname():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    now = file.with_name(f"now-{uuid.uuid4().hex}")  # both times are the file system's, so that clocks need not agree
    now.touch()
    try:
        return now.stat().st_mtime - file.stat().st_mtime < SILENCE
    finally:
        now.unlink()


def holding(log: Path) -> IO[str]:
    """A cell's log, to be written: locked until the last process that has it open has ended, so also a cell's own.

    So nobody starts a cell again whose worker was killed before the cell has a folder of its own.
    """
    stream = log.open("a")
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream


def is_held(log: Path) -> bool:
    """Whether a process writes a cell's log now."""
    try:
        with log.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
