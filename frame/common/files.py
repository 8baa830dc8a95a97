"""Writes files completely or not at all, and locks them."""

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
    """Writes to a temporary file in the target's folder, syncs it and moves it into place.

    The target is never half-written and never missing, even if the process is killed. The former file goes to `keep`.
    The umask applies to `mode`.

    Raises:
        OSError: the disk is full or the folder cannot be written. The former file stays and no temporary file is left.
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
            former.unlink(missing_ok=True)  # os.replace keeps both names of one file
    except BaseException:
        for left in (Path(temporary), former):
            if left is not None:
                left.unlink(missing_ok=True)
        raise


def _second(path: Path, other: Path) -> bool:
    """Makes `other` a hard link to the file, or a copy if the file system has no links. Returns whether it did.

    It does not if there is no such file, or no room for a copy, because the new content is more important.
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
    """Removes temporary files of a `write_whole` to this path that was killed. No process may be writing to it now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if re.fullmatch(r"[a-z0-9_]{8}", left.name.rpartition(".")[2]):
            left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda stream: stream.write(text.encode()))


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Raises UserError if the output of a command, `out`, cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or out} cannot be written ({error.strerror or error})") from None


def must_wait(file: Path, operation: int) -> bool:
    """Whether flock's `operation` on the file must wait, because a process of this machine holds a lock."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return True
    except OSError:  # there is no file, or a link, which is never locked
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
