"""What keeps a run inside its folder: none of its links is followed, and a name in it is a name and never a path."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from frame.common.errors import Damaged

WINDOWS = ("wandb", "tensorboard")  # of others, who make links in them; no command reads them
LONGEST = 120  # bytes of a name: file systems take 255, of which a suffix and a temporary name take some


def check(folder: Path) -> None:
    """Looks through a run's folder before anything in it is read or written; the folder itself may be a link.

    Raises:
        Damaged: something in it is a link, a pipe or a device.
    """
    for entry in _below(folder):
        mode = entry.stat(follow_symlinks=False).st_mode
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
        except FileNotFoundError:  # taken away meanwhile, as a training run does with files that it replaces
            continue
        except OSError as error:
            raise Damaged(f"{error.filename or folder} cannot be read: {error.strerror}") from None


def is_file(path: Path) -> bool:
    """Whether there is a plain file, and neither it nor the folder that it lies in is a link."""
    try:
        modes = os.lstat(path).st_mode, os.lstat(path.parent).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(modes[0]) and stat.S_ISDIR(modes[1])


def opened(path: Path, flags: int, mode: int = 0o666) -> int:
    """A handle of a plain file; a pipe is not waited for.

    Raises:
        OSError: it is a link, or cannot be opened. Damaged: it is no plain file.
    """
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Damaged(f"{path} is no plain file: remove it")
    return handle


def name_of(text: str) -> str:
    """A text as the name of a file or folder, one component: 'ELBO/Validation' is 'ELBO_Validation'."""
    name = re.sub(r"[^\w .=+-]", "_", text).lstrip(".") or "_"
    raw = name.encode(errors="replace")
    if len(raw) <= LONGEST:
        return raw.decode()
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{raw[: LONGEST - 13].decode(errors='ignore')}-{mark}"
