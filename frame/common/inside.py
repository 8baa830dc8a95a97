"""Keeps reading and writing inside a run's folder: links are not followed, and a name never becomes a path."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from frame.common.errors import Damaged

WINDOWS = ("wandb", "tensorboard")  # these programs make links in their folders; no command reads them
LONGEST = 120  # bytes of a name: file systems allow 255, of which suffixes and temporary names need some


def check(folder: Path) -> None:
    """Checks a run's folder before anything in it is read or written. The folder itself may be a link.

    Raises:
        Damaged: something in it is a link, a pipe or a device.
    """
    for entry in _below(folder):
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:  # removed meanwhile: a training run replaces files
            continue
        if stat.S_ISLNK(mode):
            raise Damaged(f"{entry.path} is a link, and nothing of a run is followed out of its folder: remove it")
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise Damaged(f"{entry.path} is neither a file nor a folder: remove it")


def _below(folder: Path) -> Iterator[os.DirEntry[str]]:
    waiting: list[str] = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    yield entry
                    outside = entry.name in WINDOWS and os.path.dirname(entry.path) == os.fspath(folder)
                    if entry.is_dir(follow_symlinks=False) and not outside:
                        waiting.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Damaged(f"{error.filename or folder} cannot be read: {error.strerror}") from None


def is_file(path: Path) -> bool:
    """Whether this is a plain file. False if it, or the folder it is in, is a link."""
    try:
        modes = os.lstat(path).st_mode, os.lstat(path.parent).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(modes[0]) and stat.S_ISDIR(modes[1])


def opened(path: Path, flags: int, mode: int = 0o666) -> int:
    """Opens a plain file and returns its descriptor. Does not wait for a pipe.

    Raises:
        OSError: it is a link, or cannot be opened. Damaged: it is not a plain file.
    """
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Damaged(f"{path} is not a plain file: remove it")
    return handle


def name_of(text: str) -> str:
    """A text as the name of one file or folder: 'ELBO/Validation' becomes 'ELBO_Validation'."""
    name = re.sub(r"[^\w .=+-]", "_", text).lstrip(".") or "_"
    raw = name.encode(errors="replace")
    if len(raw) <= LONGEST:
        return raw.decode()
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{raw[: LONGEST - 13].decode(errors='ignore')}-{mark}"
