"""An index of run summaries in the user's cache, so that a list need not read thousands of files again.

An entry is used only while each file that it was made from has the same size, times and inode, and only if the same
code made it. If anything is wrong with the index, the runs' own files are read.
"""

import hashlib
import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from frame import __version__
from frame.composition import plain, stored
from frame.runs import folder, journal, reading, summary
from frame.runs.summary import FILES, PackedSummary

MOST = 20_000  # the latest runs that are kept: about 50 MB
SETTLED = 2_000_000_000  # nanoseconds after which another change would alter the file's times
TOGETHER = 500  # runs per query
TABLE = "CREATE TABLE runs (path BLOB PRIMARY KEY, stamp TEXT, sum INT, head TEXT, config BLOB, newest BLOB)"


def place() -> Path:
    """The index's file: below $XDG_CACHE_HOME or ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return Path(cache if os.path.isabs(cache) else os.path.expanduser("~/.cache"), "frame", "runs.sqlite")


class Index:
    """The index for these runs, as it was when it was opened.

    Args:
        paths: the runs' folders.
        file: the index's file; None: the user's.
    """

    def __init__(self, paths: Iterable[Path], file: Path | None = None) -> None:
        self.file = file or place()
        self.broken = False
        self._new: dict[bytes, tuple[str, PackedSummary]] = {}
        self._kept: dict[bytes, tuple[str, PackedSummary]] = {}
        if self.file.is_file():
            try:
                self._load([*map(_key, paths)])
            except (sqlite3.Error, UnicodeDecodeError) as error:
                self.broken = getattr(error, "sqlite_errorname", "") not in ("SQLITE_BUSY", "SQLITE_LOCKED")

    def _load(self, keys: Sequence[bytes]) -> None:
        with closing(sqlite3.connect(f"{self.file.absolute().as_uri()}?mode=ro", timeout=1, uri=True)) as base:
            if base.execute("PRAGMA user_version").fetchone()[0] != _version():
                self.broken = True
                return
            for start in range(0, len(keys), TOGETHER):
                some = keys[start : start + TOGETHER]
                marks = ",".join("?" * len(some))
                query = f"SELECT path, stamp, sum, head, config, newest FROM runs WHERE path IN ({marks})"
                for key, stamp, total, *parts in base.execute(query, some):
                    found = PackedSummary(*parts)
                    if total == _sum(found):
                        self._kept[key] = stamp, found

    def get(self, path: Path, stamp: str) -> PackedSummary | None:
        """A run's summary if the index has one with this stamp, else None."""
        then, found = self._kept.get(_key(path), ("", None))
        return found if stamp and then == stamp else None

    def put(self, path: Path, stamp: str, found: PackedSummary) -> None:
        """Keeps a summary for `save`; `stamp` must have been taken before the run was read."""
        if stamp:
            self._new[_key(path)] = stamp, found

    def save(self) -> None:
        """Writes new entries and drops runs that are gone. Does nothing if the index cannot be written."""
        if not self._new:
            return
        with suppress(sqlite3.Error, OSError):
            if self.broken:
                self.file.unlink(missing_ok=True)
                self.file.with_name(f"{self.file.name}-journal").unlink(missing_ok=True)
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600))  # summaries are for the owner only
            with closing(sqlite3.connect(self.file, timeout=2)) as base, base:
                self._write(base)

    def _write(self, base: sqlite3.Connection) -> None:
        base.execute("BEGIN IMMEDIATE")
        if base.execute("PRAGMA user_version").fetchone()[0] != _version():
            base.execute("DROP TABLE IF EXISTS runs")
            base.execute(TABLE)
            base.execute(f"PRAGMA user_version = {_version()}")
        rows = ((key, stamp, _sum(found), *found) for key, (stamp, found) in self._new.items())
        base.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", rows)
        gone = [(key,) for (key,) in base.execute("SELECT path FROM runs") if not os.path.lexists(key)]
        base.executemany("DELETE FROM runs WHERE path = ?", gone)
        base.execute(
            "DELETE FROM runs WHERE rowid NOT IN (SELECT rowid FROM runs ORDER BY rowid DESC LIMIT ?)", (MOST,)
        )


def stamp(path: Path) -> str:
    """Size, times and inode of each file of a run's summary; '' if they would not show a change.

    They would not for a link, whose target may change, or for a file that changed a moment ago, because file times have
    a limited resolution.
    """
    found = []
    latest = 0
    for name in FILES:
        try:
            one = os.lstat(path / name)
        except OSError:
            found.append("-")
            continue
        if stat.S_ISLNK(one.st_mode):
            return ""
        latest = max(latest, one.st_mtime_ns, one.st_ctime_ns)
        found.append(f"{one.st_size} {one.st_mtime_ns} {one.st_ctime_ns} {one.st_ino} {one.st_mode}")
    return ",".join(found) if latest < time.time_ns() - SETTLED else ""


def _key(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _sum(found: PackedSummary) -> int:
    total = zlib.crc32(found.head.encode())
    for part in found[1:]:
        total = zlib.crc32(part, total)
    return total


def _version() -> int:
    """A number for the code that makes summaries."""
    digest = hashlib.sha256(__version__.encode())
    for module in (journal, plain, reading, folder, stored, summary):
        digest.update(Path(str(module.__file__)).read_bytes())
    return int.from_bytes(digest.digest()[:4], "big") >> 1
