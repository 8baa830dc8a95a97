"""Rows that stay in their files, as they are stored: each is read from its place when it is asked for."""

import os
import resource
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import Unread, UserError

WARY = 512  # reads after one that waited for the disk, before which the system is told what is wanted
PAGE = os.sysconf("SC_PAGE_SIZE")
AT_ONCE = 64 << 20  # bytes of neighbours that are read in one piece; the system reads at most 2 GB


class RowFile:
    """A file of which pieces are read. It must not change while it is used.

    Pieces are copied out of the file by the system (pread). If the file were mapped into memory instead, a page that is
    gone because somebody cut the file, or because the disk fails, would end the process (SIGBUS).

    Raises:
        Unread: from `pieces` and `check`, the file is another one, was written since, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.mark = mark_of(os.stat(self.path))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "mark": self.mark}

    @property
    def size(self) -> int:
        """Bytes."""
        return self.mark[2]

    @cached_property
    def _descriptor(self) -> int:
        """Opened when it is first read, so that a table of many files does not use up the process's."""
        found = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, found)
        with suppress(OSError, AttributeError):  # some systems have no such call
            os.posix_fadvise(found, 0, 0, os.POSIX_FADV_RANDOM)  # otherwise a row of 3 KB reads 128 KB
        return found

    def pieces(self, starts: Sequence[int], sizes: Sequence[int]) -> bytearray:
        """So many bytes from each place on, one piece behind the other."""
        try:
            here = self._descriptor
            found = bytearray().join([os.pread(here, n, start) for start, n in zip(starts, sizes, strict=True)])
        except OSError as error:
            self.check()
            raise Unread(f"{self.path} cannot be read ({error.strerror}): mend that, and resume the run") from None
        self.check()  # afterwards, so that a change in the meantime is noticed, too
        if len(found) != sum(sizes):
            raise Unread(f"{self.path} gives fewer bytes than it has: mend that, and resume the run")
        return found

    def check(self) -> None:
        check_unchanged(self.path, self.mark)

    def announce(self, starts: np.ndarray, n_bytes: int) -> None:
        """Asks the system to read rows all at once and in the disk's order, rather than each when it is its turn."""
        begin = np.sort(starts) // PAGE * PAGE
        end = np.sort(starts) + n_bytes
        apart = np.flatnonzero(begin[1:] > end[:-1])
        firsts, ends = begin[np.concatenate([[0], apart + 1])], end[np.concatenate([apart, [len(end) - 1]])]
        with suppress(OSError, AttributeError):  # it is gone, which the read tells; or the system has no such call
            for first, last in zip(firsts.tolist(), ends.tolist(), strict=True):
                os.posix_fadvise(self._descriptor, first, last - first, os.POSIX_FADV_WILLNEED)


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

    file: RowFile
    offset: int
    n: int


class FileRows:
    """Rows of one type and shape in files.

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
            if end > piece.file.size:
                raise UserError(
                    f"{piece.file.path} is cut short: it has {piece.file.size} of {end} bytes: write it again"
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
        self._wary = WARY
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
        if self._wary > 0 and _known(rows) not in self._told:
            self._announce_all(rows)
        self._wary = max(self._wary - 1, 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
        out = self._gathered(rows)
        if resource.getrusage(resource.RUSAGE_SELF).ru_inblock > before:
            self._wary = WARY
        return out.view(self.dtype).reshape(len(rows), *self.shape)

    def ahead(self, rows: np.ndarray) -> None:
        """Asks the system to read these rows soon, if it was waited for the disk not long ago."""
        if self._wary > 0:
            self._told.append(_known(rows))
            _thread().submit(self._announce_all, rows)

    def _announce_all(self, rows: np.ndarray) -> None:
        for file, start, _ in self._places(rows):
            file.announce(start, self.n_bytes)

    def _places(self, rows: np.ndarray) -> Iterator[tuple[RowFile, np.ndarray, np.ndarray]]:
        """The files that have some of the rows, the first bytes of these, and their places among the rows."""
        piece = np.searchsorted(self.ends, rows, side="right")
        owner = self._file[piece]
        start = self._base[piece] + rows * self.n_bytes
        for i in np.unique(owner).tolist():
            mine = np.flatnonzero(owner == i)
            yield self.files[i], start[mine], mine

    def _gathered(self, rows: np.ndarray) -> np.ndarray:
        """The bytes of rows, [B, bytes of a row]."""
        found = [(self._of_file(file, start), mine) for file, start, mine in self._places(rows)]
        if len(found) == 1:
            return found[0][0]
        out = np.empty((len(rows), self.n_bytes), np.uint8)
        for some, mine in found:
            out[mine] = some
        return out

    def _of_file(self, file: RowFile, start: np.ndarray) -> np.ndarray:
        """Rows that begin at these bytes; what lies one behind the other is read in one piece."""
        together = max(1, AT_ONCE // self.n_bytes)
        follows = np.diff(start) == self.n_bytes
        if follows.any():
            heads = np.flatnonzero(np.concatenate([[True], ~follows]))
            lengths = np.diff(np.append(heads, len(start)))
            some = [
                (start[h] + k * self.n_bytes, min(together, n - k))
                for h, n in zip(heads, lengths, strict=True)
                for k in range(0, n, together)
            ]
            starts, sizes = [int(s) for s, _ in some], [int(n) * self.n_bytes for _, n in some]
        else:
            starts, sizes = start.tolist(), [self.n_bytes] * len(start)
        return np.frombuffer(file.pieces(starts, sizes), np.uint8).reshape(len(start), self.n_bytes)


def _known(rows: np.ndarray) -> tuple[int, ...]:
    """By which a read is known that was announced."""
    return (len(rows), int(rows[0]), int(rows[-1])) if len(rows) else ()


@cache
def _thread() -> ThreadPoolExecutor:
    """Tells the system what is wanted while the run goes on: telling it costs some 10 microseconds a row."""
    return ThreadPoolExecutor(1, "ahead")


def npy_rows(array: np.memmap, where: str) -> FileRows:
    """The rows [N, ...] of an npy file that numpy has opened with `mmap_mode='r'`.

    Raises:
        UserError: they are stored by columns.
    """
    if not array.flags.c_contiguous:
        raise UserError(
            f"{where} is stored by columns (Fortran order), so that each row lies all over the file: write it by "
            "np.save(file, np.ascontiguousarray(x))"
        )
    file = RowFile(Path(str(array.filename)))
    return FileRows([Piece(file, array.offset, len(array))], array.dtype, array.shape[1:])
