"""Append-only files of JSON lines, in which a run keeps what it logs, measures and notes."""

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
from typing import IO, Any

from frame.common.errors import Damaged
from frame.common.files import write_whole

RECORDS, DIAGNOSES = "records.jsonl", "doctor.jsonl"  # of a run: its measurements, and the doctor's diagnoses
Line = dict[str, Any]
SMALL = 4_000_000  # bytes of a file that is parsed in one call
PATIENCE = 60.0  # seconds that a writer waits for another; writing a line takes microseconds, a cut seconds
UNLOCKABLE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF)  # errors of file systems without locks
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
DECODER = json.JSONDecoder()
_named: set[Path] = set()  # files whose broken lines were named by this process


class Journal:
    """A file of JSON objects, a line each, which several processes may append to at once.

    A line is whole or absent. It is written by one system call at the file's end, under a lock; if only a part fits on
    the disk, that part is removed again. If a killed writer left half a line, it is cut off before the next one. Lines
    are strict JSON: NaN and infinities are the texts "NaN", "Infinity" and "-Infinity" (see `number`).

    Links are not followed, and only plain files are opened. The lock is on the file itself, not on a second file beside
    it, because a cut replaces the file: a writer that waited for the former one must see that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting: list[bytes] = []  # lines that `keep` could not write yet
        self.broken: list[int] = []  # the numbers of the lines that the last reading left out

    # -- writing

    def append(self, *lines: Mapping[str, Any], sync: bool = False) -> None:
        """Writes all of these lines or none of them; with `sync` they survive a power failure.

        Raises:
            OSError: the disk is full, the file is a link or cannot be written, or another process holds its lock.
        """
        if lines:
            self._append(b"".join(map(_encoded, lines)), PATIENCE, sync)

    def keep(self, *lines: Mapping[str, Any]) -> None:
        """Writes these lines after those that wait. It hardly waits for a lock, so that training does not stop.

        Raises:
            OSError: as `append`; the lines wait in memory for the next call.
        """
        self.waiting += map(_encoded, lines)
        if self.waiting:
            self._append(b"".join(self.waiting), 0.1, False)
            self.waiting.clear()

    def sync(self) -> None:
        """Writes the lines that wait, and makes sure that they survive a power failure.

        Raises:
            OSError: lines still wait, or the disk failed.
        """
        self.keep()
        if self.path.exists():
            with self._opened() as handle:
                os.fsync(handle)

    def cut(self, wanted: Callable[[Line], bool]) -> None:
        """Drops the lines that are not `wanted`, and broken ones, in one step. Lines that others append meanwhile stay.

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

            # writers that wait for the lock of the former file find the new one, and lock that
            write_whole(self.path, fill)

    def _append(self, data: bytes, patience: float, sync: bool) -> None:
        with self.locked(patience) as handle:
            end = _mend(handle)
            try:
                written = os.write(handle, data)
                if written < len(data):
                    written += os.write(handle, data[written:])  # raises the error, such as a full disk
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
                raise OSError(errno.EINVAL, "is not a plain file", str(self.path))
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def locked(self, patience: float) -> Iterator[int]:
        """Locks the file, so that no other process writes; waits up to `patience` seconds.

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
        """All lines, the oldest first; [] if there is no file.

        Leaves out a line that is not an object or does not fit, and names such lines once on stderr.

        Raises:
            Damaged: the file is a link, is not a plain file, or cannot be read.
        """
        lines = self._at_once()
        if lines is not None and (fits is None or all(map(fits, lines))):
            return lines
        return [line for _, line in self.since(0, fits)]

    def _at_once(self) -> list[Line] | None:
        """All lines of a small file, parsed in one call: twice as fast. None if they must be read one by one."""
        self.broken = []
        with self._stream() as stream:
            if stream is None:
                return []
            size = os.fstat(stream.fileno()).st_size
            if size > SMALL:
                return None
            raw = stream.read(size)
        n = raw.count(b"\n")
        if n == 0 or not (raw.startswith(b"{") and raw.count(b"\n{") + 1 == n == raw.count(b"}\n")):
            return None if raw else []
        try:
            found = json.loads("[" + raw[:-1].decode().replace("\n", ",") + "]")
        except (ValueError, RecursionError):
            return None
        return found if len(found) == n and {*map(type, found)} == {dict} else None

    def since(self, start: int, fits: Callable[[Line], bool] | None = None) -> Iterator[tuple[int, Line]]:
        """The lines from a position on, each with the position after it; as `read`, with bounded memory."""
        self.broken = broken = list[int]()
        with self._stream() as stream:
            if stream is None:
                return
            stream.seek(start)
            position = start
            for number, raw in enumerate(stream, 1):
                position += len(raw)
                line = _parsed(raw)
                if line is not None and (fits is None or fits(line)):
                    yield position, line
                elif raw.strip() and (raw.endswith(b"\n") or not raw.startswith(b"{")):
                    # else it is being written, or its writer was killed
                    broken.append(number)
        if broken and start == 0 and self.path not in _named:
            _named.add(self.path)
            lines = f"lines {', '.join(map(str, broken[:5]))}" if len(broken) > 1 else f"line {broken[0]}"
            more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
            with suppress(OSError, ValueError):  # stderr may be closed
                print(f"frame: {self.path}: {lines}{more} cannot be read and left out", file=sys.stderr, flush=True)

    @contextmanager
    def _stream(self) -> Iterator[IO[bytes] | None]:
        """The file, to read; None if there is none.

        Raises:
            Damaged: as `read`.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise _unread(self.path, error) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Damaged(f"{self.path} cannot be read: it is not a plain file")
        with os.fdopen(handle, "rb") as stream:
            try:
                yield stream
            except OSError as error:
                raise _unread(self.path, error) from None


def number(value: Any) -> float | None:
    """The number that a line's value means, because NaN and infinities are texts there; None if it is not a number."""
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
        line, end = DECODER.raw_decode(text) if text.startswith("{") else (None, 0)  # half the time of json.loads
        if text[end:] not in ("", "\n"):
            line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _lines(handle: int) -> Iterator[tuple[bytes, Line | None]]:
    """Each line's bytes and its object; None for a broken line."""
    os.lseek(handle, 0, os.SEEK_SET)
    with os.fdopen(os.dup(handle), "rb") as stream:
        for raw in stream:
            yield raw, _parsed(raw)


def _mend(handle: int) -> int:
    """Cuts off a half-written last line, or ends a whole one with a newline; returns the file's end."""
    end = os.fstat(handle).st_size
    if end == 0 or os.pread(handle, 1, end - 1) == b"\n":
        return end
    size, tail = 65536, b""
    while b"\n" not in tail and len(tail) < end:
        tail = os.pread(handle, min(size, end), max(0, end - size))
        size *= 4
    tail = tail[tail.rfind(b"\n") + 1 :]
    if _parsed(tail) is not None:  # some editors write the last line without a newline
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
                return  # lines are still appended whole
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
