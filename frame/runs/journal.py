"""Append-only files of JSON lines: the one way in which what a run logs, measures and notes is written and read."""

import errno
import fcntl
import json
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from frame.common.errors import Damaged
from frame.common.files import write_whole

RECORDS, DIAGNOSES = "records.jsonl", "doctor.jsonl"  # of a run: what was measured, and what the doctor said
Line = dict[str, Any]
PATIENCE = 60.0  # seconds that a writer waits for another; a line takes microseconds, a cut seconds
UNLOCKABLE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF)  # of file systems without locks
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
DECODER = json.JSONDecoder()
_named: set[Path] = set()  # files whose broken lines were named by this process


class Journal:
    """A file of JSON objects, a line each, which several processes may append to at once.

    A line is whole or absent: it is written by one system call at the file's end, under a lock; where only a part of it
    fits on the disk, that part is taken back. What a killed writer left without its newline is cut off before the next
    line. Lines are strict JSON, so NaN and infinities are the texts "NaN", "Infinity" and "-Infinity" (see `number`).

    Links are not followed, and nothing but a plain file is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting: list[bytes] = []  # lines that `keep` could not write yet
        self.broken: list[int] = []  # the numbers of the lines that the last reading left out

    # -- writing

    def append(self, *lines: Mapping[str, Any], sync: bool = False) -> None:
        """Writes all of these lines or none of them; with `sync` they outlast the machine's power.

        Raises:
            OSError: the disk is full, the file is a link or cannot be written, or another process holds its lock.
        """
        if lines:
            self._append(b"".join(map(_encoded, lines)), PATIENCE, sync)

    def keep(self, *lines: Mapping[str, Any]) -> None:
        """Writes these lines behind those that wait; a training run, which must not stop, does not wait for a lock.

        Raises:
            OSError: as `append`; the lines wait in memory for the next call.
        """
        self.waiting += map(_encoded, lines)
        if self.waiting:
            self._append(b"".join(self.waiting), 0.1, False)
            self.waiting.clear()

    def sync(self) -> None:
        """What was written is on disk, whatever happens to the machine.

        Raises:
            OSError: lines still wait, or the disk does not answer.
        """
        self.keep()
        if self.path.exists():
            with self._opened() as handle:
                os.fsync(handle)

    def cut(self, wanted: Callable[[Line], bool]) -> None:
        """Drops the lines that are not `wanted`, and broken ones, in one step; what others append meanwhile stays.

        Raises:
            OSError: the disk is full or the file cannot be written; it stays as it was.
        """
        self.waiting = [line for line in self.waiting if wanted(json.loads(line))]
        if not self.path.exists():
            return
        with self.locked(PATIENCE) as handle:
            _mend(handle)
            if all(line is not None and wanted(line) for _, line in _lines(handle)):
                return

            def fill(stream: Any) -> None:
                for raw, line in _lines(handle):
                    if line is not None and wanted(line):
                        stream.write(raw)

            # writers that wait for the lock of the former file find the new one in its place, and lock that
            write_whole(self.path, fill)

    def _append(self, data: bytes, patience: float, sync: bool) -> None:
        with self.locked(patience) as handle:
            end = _mend(handle)
            try:
                written = os.write(handle, data)
                if written < len(data):
                    written += os.write(handle, data[written:])  # says what the trouble is
                if written < len(data):
                    raise OSError(errno.ENOSPC, "only a part of a line could be written", str(self.path))
            except BaseException:
                os.ftruncate(handle, end)
                raise
            if sync:
                os.fsync(handle)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        # O_NONBLOCK: a named pipe must not be waited for
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(self.path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "is no plain file", str(self.path))
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def locked(self, patience: float) -> Iterator[int]:
        """Nobody else writes meanwhile; waits `patience` seconds for that.

        Raises:
            OSError: as `append`.
        """
        while True:
            with self._opened() as handle:
                _lock(handle, patience, self.path)
                if _is_at(handle, self.path):  # else it was cut while we waited
                    yield handle
                    return

    # -- reading

    def read(self, fits: Callable[[Line], bool] | None = None) -> list[Line]:
        """All lines, the oldest first; [] where there is no file.

        A line that is no object, or that does not fit, is left out; which ones is said once on stderr.

        Raises:
            Damaged: the file is a link, no plain file or cannot be read.
        """
        return [line for _, line in self.since(0, fits)]

    def since(self, start: int, fits: Callable[[Line], bool] | None = None) -> Iterator[tuple[int, Line]]:
        """The lines from a position on, each with the position behind it; as `read`, with bounded memory."""
        self.broken = broken = list[int]()
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unread(self.path, error) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Damaged(f"{self.path} cannot be read: it is no plain file")
        with os.fdopen(handle, "rb") as stream:
            stream.seek(start)
            position = start
            try:
                for number, raw in enumerate(stream, 1):
                    position += len(raw)
                    line = _parsed(raw)
                    if line is not None and (fits is None or fits(line)):
                        yield position, line
                    elif raw.strip() and (raw.endswith(b"\n") or not raw.startswith(b"{")):
                        # else it is being written, or its writer was killed
                        broken.append(number)
            except OSError as error:
                raise _unread(self.path, error) from None
        if broken and start == 0 and self.path not in _named:
            _named.add(self.path)
            lines = f"lines {', '.join(map(str, broken[:5]))}" if len(broken) > 1 else f"line {broken[0]}"
            more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
            with suppress(OSError, ValueError):  # stderr may be closed
                print(f"frame: {self.path}: {lines}{more} cannot be read and left out", file=sys.stderr, flush=True)


def number(value: Any) -> float | None:
    """A number of a line: NaN and infinities stand there as texts. None where it is none."""
    if isinstance(value, str):
        return NOT_FINITE.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of 400 digits
        return None


def _encoded(line: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(line, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(line), allow_nan=False)
    return f"{text}\n".encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _parsed(raw: bytes) -> Line | None:
    try:
        text = raw.decode()
        line, end = DECODER.raw_decode(text) if text.startswith("{") else (None, 0)  # half of what json.loads takes
        if text[end:] not in ("", "\n"):
            line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _lines(handle: int) -> Iterator[tuple[bytes, Line | None]]:
    """Each line as it stands and what it says; None where it is broken."""
    os.lseek(handle, 0, os.SEEK_SET)
    with os.fdopen(os.dup(handle), "rb") as stream:
        for raw in stream:
            yield raw, _parsed(raw)


def _mend(handle: int) -> int:
    """Cuts off what a killed writer left of a line, or closes a line that is whole; returns the file's end."""
    end = os.fstat(handle).st_size
    if end == 0 or os.pread(handle, 1, end - 1) == b"\n":
        return end
    size, tail = 65536, b""
    while b"\n" not in tail and len(tail) < end:
        tail = os.pread(handle, min(size, end), max(0, end - size))
        size *= 4
    tail = tail[tail.rfind(b"\n") + 1 :]
    if _parsed(tail) is not None:  # an editor leaves a last line so
        os.write(handle, b"\n")
        return end + 1
    os.ftruncate(handle, end - len(tail))
    return end - len(tail)


def _lock(handle: int, patience: float, path: Path) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds its lock", str(path)) from None
            time.sleep(0.002)
        except OSError as error:
            if error.errno in UNLOCKABLE:
                return  # lines of several processes are still appended whole
            raise


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _unread(path: Path, error: OSError) -> Damaged:
    reason = "it is a link, and links are not followed" if error.errno == errno.ELOOP else error.strerror or error
    return Damaged(f"{path} cannot be read: {reason}")
