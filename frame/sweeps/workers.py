"""Signs of life in a study's folder, of its workers and of running cells."""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import IO

from filelock import FileLock

from frame.common.files import must_wait

HEARTBEAT = 5.0  # seconds between two signs of life
SILENCE = 12 * HEARTBEAT  # after this, a worker on another machine counts as dead


class Worker:
    """A sign of life in the study's folder, for as long as the process runs."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.file = folder / self.name
        folder.mkdir(parents=True, exist_ok=True)
        self._stream = holding(self.file)
        self._stop = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            self.file.touch()

    def close(self) -> None:
        self._stop.set()
        self.file.unlink(missing_ok=True)
        self._stream.close()

    def lives(self, name: str) -> bool:
        """Whether another worker lives."""
        return lives(self.file.parent / name)


class Lock:
    """A lock in a shared folder for one worker at a time: a link that names its holder. A dead worker's is freed.

    It is for Optuna's journal. Optuna's own lock waits 30 s for a killed worker, or forever if the link has no target,
    and Ctrl-C while waiting frees another worker's lock.
    """

    def __init__(self, file: Path, worker: Worker) -> None:
        self.file, self.worker = file, worker

    def acquire(self) -> bool:
        pause, looked = 0.001, time.monotonic()
        while True:
            try:
                self.file.symlink_to(self.worker.name)
                return True
            except FileExistsError:
                time.sleep(pause)
                pause = min(2 * pause, 0.2)
            if time.monotonic() - looked > 0.5:
                looked = time.monotonic()
                self._break()

    def _break(self) -> None:
        """Removes the link of a dead worker. One worker at a time, so that none removes another's new link."""
        broken = FileLock(self.file.with_name(f"{self.file.name}-broken"))
        with broken, contextlib.suppress(FileNotFoundError):
            if not self.worker.lives(Path(os.readlink(self.file)).name):
                self.file.unlink()

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()


def lives(file: Path) -> bool:
    """Whether the worker of this file lives: it holds the file on this machine, or touched it recently on another."""
    if not file.exists():
        return False
    if file.name.rsplit("-", 2)[0] == socket.gethostname():
        return is_held(file)
    now = file.with_name(f"now-{uuid.uuid4().hex}")  # both times are the file system's, so clocks need not agree
    now.touch()
    try:
        return now.stat().st_mtime - file.stat().st_mtime < SILENCE
    finally:
        now.unlink()


def holding(file: Path) -> IO[str]:
    """Opens a file to write, such as a cell's log, and holds it until the last process that inherits it has ended.

    So a cell is not started again if its worker was killed before the cell made its folder. The lock is shared and
    inherited by child processes, which a FileLock cannot be.
    """
    stream = file.open("a")
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream


def is_held(file: Path) -> bool:
    """Whether a process of this machine holds a file of `holding`."""
    return must_wait(file, fcntl.LOCK_EX)
