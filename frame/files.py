"""Files that are there whole or not at all, and who holds them."""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def write_whole(path: Path, write: Callable[[IO[bytes]], Any], *, keep: Path | None = None) -> None:
    """Writes to a temporary file in the target's own folder, syncs it and puts it in place.

    The target is never half-written, whatever dies when; `keep` is where the former one goes.

    Raises:
        OSError: the disk is full or the folder cannot be written; the former file stays and nothing is left behind.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    write_whole(path, lambda stream: stream.write(text.encode()))


def must_wait(file: Path, operation: int) -> bool:
    """Whether a process of this machine holds a lock on the file for which flock's `operation` would have to wait."""
    try:
        with file.open() as stream:
            fcntl.flock(stream, operation | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
