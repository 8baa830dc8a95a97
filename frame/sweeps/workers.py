"""Signs of life in a study's folder: of its workers, and of the cells that run, whoever has started them."""

import contextlib
import fcntl
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import IO

from frame.common.files import must_wait

HEARTBEAT = 5.0  # seconds between two signs of life
SILENCE = 12 * HEARTBEAT  # after which a worker on another machine is taken for dead


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
    """One worker at a time, also over a shared folder: a link that names who holds it; a dead one's is taken away.

    It is what Optuna's journal takes; Optuna's own waits 30 s where its worker was killed, or for ever where the link
    leads to no file, and Ctrl-C while waiting frees another's.
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
        """Takes away what a dead worker holds; flock, so that of two who see it none takes away the other's new one."""
        with self.file.with_name(f"{self.file.name}-broken").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if not self.worker.lives(Path(os.readlink(self.file)).name):
                    self.file.unlink()

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()


def lives(file: Path) -> bool:
    """Whether the worker of this file lives: it holds it on this machine, and has touched it lately elsewhere."""
    if not file.exists():
        return False
    if file.name.rsplit("-", 2)[0] == socket.gethostname():
        return is_held(file)
    now = file.with_name(f"now-{uuid.uuid4().hex}")  # both times are the file system's, so that clocks need not agree
    now.touch()
    try:
        return now.stat().st_mtime - file.stat().st_mtime < SILENCE
    finally:
        now.unlink()


def holding(file: Path) -> IO[str]:
    """A file to be written, such as a cell's log: held until the last process that was given it has ended.

    So nobody starts a cell again whose worker was killed before the cell has a folder of its own.
    """
    stream = file.open("a")
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream


def is_held(file: Path) -> bool:
    """Whether a process of this machine holds it."""
    return must_wait(file, fcntl.LOCK_EX)
