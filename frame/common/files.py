"""Files that are there whole or not at all, and who holds them."""

import fcntl
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from frame.common.errors import UserError


def write_whole(path: Path, write: Callable[[IO[bytes]], Any], *, keep: Path | None = None, mode: int = 0o666) -> None:
    """Writes to a temporary file in the target's own folder, syncs it and puts it in place.

    The target is never half-written and never away, whatever dies when; `keep` is where the former one is kept. The
    umask takes from `mode` what it takes from any new file's.

    Raises:
        OSError: the disk is full or the folder cannot be written; the former file stays and nothing is left behind.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    former = keep.with_name(f".{keep.name}.{temporary[-8:]}") if keep is not None else None
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode & ~_umask())
        kept = former is not None and _second(path, former)
        os.replace(temporary, path)
        if keep is not None and former is not None and kept:
            os.replace(former, keep)
            former.unlink(missing_ok=True)  # it stays where both are one file already
    except BaseException:
        for left in (Path(temporary), former):
            if left is not None:
                left.unlink(missing_ok=True)
        raise


def _second(path: Path, other: Path) -> bool:
    """Whether `other` now is a second name of this file, or a copy where the file system has no links.

    It is not where there is no such file, or no room for a copy: the new content matters more than the former one.
    """
    try:
        os.link(path, other)
        return True
    except FileNotFoundError:
        return False
    except OSError:
        try:
            shutil.copyfile(path, other)
            return True
        except OSError:
            other.unlink(missing_ok=True)
            return False


def clear_temporary(path: Path) -> None:
    """Removes what `write_whole` to this path has left where it was killed; nobody may be writing to it now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if re.fullmatch(r"[a-z0-9_]{8}", left.name.rpartition(".")[2]):
            left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda stream: stream.write(text.encode()))


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Raises UserError where what a command was to write, `out`, cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or out} cannot be written ({error.strerror or error})") from None


def must_wait(file: Path, operation: int) -> bool:
    """Whether a process of this machine holds a lock on the file for which flock's `operation` would have to wait."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return True
    except OSError:  # there is none, or somebody has put a link there, which nobody locks
        return False
    try:
        fcntl.flock(handle, operation | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
