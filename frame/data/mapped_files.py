"""Files that are mapped into memory: their rows are read from the disk when they are asked for, and then forgotten."""

import mmap
import os
import resource
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import Unread, UserError

WARY = 512  # reads after one that waited for the disk, before which the system is told what is wanted
HELD = 1 << 30  # bytes of files that the process keeps mapped in its memory, before it lets go of them
LOOK = 64  # reads after which it looks how many these are


class MappedFile:
    """A file that is mapped. It must not change while it is: a page that is gone would end the process (SIGBUS).

    Raises:
        Unread: from `check`, the file on the disk is another one, or was written since.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        with open(self.path, "rb") as stream:
            self.mark = mark_of(os.fstat(stream.fileno()))
            self.map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.map.madvise(mmap.MADV_RANDOM)  # otherwise a row of 3 KB reads 128 KB
        self.bytes = np.frombuffer(self.map, np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "mark": self.mark}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]
        self.mark = state["mark"]

    def check(self) -> None:
        check_unchanged(self.path, self.mark)


def mark_of(found: os.stat_result) -> tuple[int, ...]:
    """What is another if a file is replaced or written."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def check_unchanged(path: Path, mark: tuple[int, ...]) -> None:
    """Raises Unread if the file on the disk is not the one that had this mark."""
    try:
        now = mark_of(os.stat(path))
    except OSError as error:
        raise Unread(f"{path} cannot be read any more ({error.strerror}): put it back, and resume the run") from None
    if now != mark:
        sizes = f"it had {mark[2]} bytes, and has {now[2]}" if now[2] != mark[2] else "in the same size"
        raise Unread(
            f"{path} was changed or replaced while it was used ({sizes}): put back the file that the run began with, "
            "and resume it, or train a new run"
        )


@dataclass(frozen=True)
class Piece:
    """`n` rows that lie one behind the other in a file, from the byte `offset` on."""

    file: MappedFile
    offset: int
    n: int


class MappedRows:
    """Rows of one type and shape in mapped files.

    Args:
        pieces: where they lie, in their order.
        dtype, shape: of a row.

    Raises:
        UserError: a file is shorter than its rows; from `read`, Unread: it was changed since.
    """

    cheap = True  # a single row costs no more than its share

    def __init__(self, pieces: Sequence[Piece], dtype: np.dtype, shape: Sequence[int]) -> None:
        self.dtype, self.shape = dtype, tuple(shape)
        self.n_bytes = dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        self.pieces = [piece for piece in pieces if piece.n]
        for piece in self.pieces:
            end = piece.offset + piece.n * self.n_bytes
            if end > len(piece.file.bytes):
                raise UserError(
                    f"{piece.file.path} is cut short: it has {len(piece.file.bytes)} of {end} bytes: write it again"
                )
        self._lay_out()

    def _lay_out(self) -> None:
        self.files = list({id(piece.file): piece.file for piece in self.pieces}.values())
        number = {id(file): i for i, file in enumerate(self.files)}
        self.ends = np.cumsum([piece.n for piece in self.pieces], dtype=np.int64)
        first = self.ends - [piece.n for piece in self.pieces]
        # a row's first byte is its number times `n_bytes`, and this
        self._base = np.array([piece.offset for piece in self.pieces], dtype=np.int64) - first * self.n_bytes
        self._file = np.array([number[id(piece.file)] for piece in self.pieces])
        self._wary, self._reads, self._before = WARY, 0, _mapped_bytes()
        self._told: deque[tuple[int, ...]] = deque(maxlen=8)

    def __getstate__(self) -> dict[str, Any]:
        return {"pieces": self.pieces, "dtype": self.dtype, "shape": self.shape, "n_bytes": self.n_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lay_out()

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Rows [B] (int64) as an array [B, *shape] of the files' own type."""
        out = np.empty((len(rows), self.n_bytes), np.uint8)
        if self._wary > 0 and _known(rows) not in self._told:
            self._announce_all(rows)
        self._wary = max(self._wary - 1, 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        for file, start, where in self._places(rows):
            self._gather(file, start, out, where)
        if resource.getrusage(resource.RUSAGE_SELF).ru_majflt > before:
            self._wary = WARY
        self._reads += 1
        if self._reads % LOOK == 0:
            self._let_go()
        return out.view(self.dtype).reshape(len(rows), *self.shape)

    def ahead(self, rows: np.ndarray) -> None:
        """Asks the system to read these rows soon, if it was waited for the disk not long ago."""
        if self._wary > 0:
            self._told.append(_known(rows))
            _thread().submit(self._announce_all, rows)

    def _announce_all(self, rows: np.ndarray) -> None:
        for file, start, _ in self._places(rows):
            _announce(file, start, self.n_bytes)

    def _places(self, rows: np.ndarray) -> Iterator[tuple[MappedFile, np.ndarray, Any]]:
        """The files that have some of the rows, the first bytes of these, and their places among the rows."""
        piece = np.searchsorted(self.ends, rows, side="right")
        owner = self._file[piece]
        start = self._base[piece] + rows * self.n_bytes
        for i in np.unique(owner).tolist():
            mine = slice(None) if len(self.files) == 1 else np.flatnonzero(owner == i)
            yield self.files[i], start[mine], mine

    def _gather(self, file: MappedFile, start: np.ndarray, out: np.ndarray, where: Any) -> None:
        file.check()
        if len(self.pieces) == 1:
            offset = self.pieces[0].offset
            whole = file.bytes[offset : offset + self.pieces[0].n * self.n_bytes].reshape(-1, self.n_bytes)
            whole.take((start - offset) // self.n_bytes, axis=0, out=out, mode="clip")
        else:  # every place of the file at which a row may begin
            windows = np.lib.stride_tricks.as_strided(
                file.bytes, (len(file.bytes) - self.n_bytes + 1, self.n_bytes), (1, 1), writeable=False
            )
            out[where] = windows[start]

    def _let_go(self) -> None:
        """Pages that were read stay in the system's cache, but no longer count as this process's memory."""
        now = _mapped_bytes()
        self._before = min(self._before, now)  # other files may be unmapped meanwhile
        if now - self._before > HELD:
            for file in self.files:
                file.map.madvise(mmap.MADV_DONTNEED)
            self._before = _mapped_bytes()


def _mapped_bytes() -> int:
    """Resident pages of files; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE
    except (OSError, IndexError):
        return 0


def _known(rows: np.ndarray) -> tuple[int, ...]:
    """By which a read is known that was announced."""
    return (len(rows), int(rows[0]), int(rows[-1])) if len(rows) else ()


@cache
def _thread() -> ThreadPoolExecutor:
    """Tells the system what is wanted while the run goes on: telling it costs some 10 microseconds a row."""
    return ThreadPoolExecutor(1, "ahead")


def _announce(file: MappedFile, start: np.ndarray, n_bytes: int) -> None:
    """Asks the system to read rows all at once and in the disk's order, rather than each when it is touched."""
    begin = np.sort(start) // mmap.PAGESIZE * mmap.PAGESIZE
    end = np.sort(start) + n_bytes
    apart = np.flatnonzero(begin[1:] > end[:-1])
    firsts, ends = begin[np.concatenate([[0], apart + 1])], end[np.concatenate([apart, [len(end) - 1]])]
    with suppress(OSError, AttributeError):  # it is gone, which the read tells; or the system has no such call
        descriptor = os.open(file.path, os.O_RDONLY)
        try:
            for first, last in zip(firsts.tolist(), ends.tolist(), strict=True):
                os.posix_fadvise(descriptor, first, last - first, os.POSIX_FADV_WILLNEED)  # madvise would hold the GIL
        finally:
            os.close(descriptor)


def mapped_array(array: np.memmap, where: str) -> MappedRows:
    """The rows [N, ...] of an npy file that numpy has opened with `mmap_mode='r'`.

    Raises:
        UserError: they are stored by columns.
    """
    if not array.flags.c_contiguous:
        raise UserError(
            f"{where} is stored by columns (Fortran order), so that each row lies all over the file: write it by "
            "np.save(file, np.ascontiguousarray(x))"
        )
    file = MappedFile(Path(str(array.filename)))
    return MappedRows([Piece(file, array.offset, len(array))], array.dtype, array.shape[1:])
