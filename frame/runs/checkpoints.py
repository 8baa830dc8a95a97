"""Finds, writes and reads a run's checkpoint files.

checkpoints/last.ckpt  previous.ckpt  best.ckpt: what `torch.save` writes, followed by a line with the format and the
sha256, which `torch.load` ignores. A run that splits its model over processes writes parts beside it; see
`frame.runs.parts`. Torch is imported only when a checkpoint is read or written.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from frame.common.errors import Damaged, UserError
from frame.common.files import clear_temporary, write_whole
from frame.common.output import say
from frame.runs import parts

FORMAT = 2
SEAL = re.compile(rb"\nframe checkpoint, format (\d{4}), sha256 ([0-9a-f]{64})\n")
LENGTH = len(b"\nframe checkpoint, format 0000, sha256 \n") + 64
KEYS = {"model", "average", "counters"}  # keys of each checkpoint

Found = TypeVar("Found")


def newest(folder: Path, name: str = "last") -> Path | None:
    """The newest whole checkpoint of a run's folder; for `last`, the previous one if the last is damaged or missing.

    A line says so. None if there is no checkpoint yet.

    Raises:
        UserError: there are files, but none is whole, or one is of another version.
    """
    return _first_whole(folder, name, verify)


def load(folder: Path, name: str = "last", whole: bool = True) -> dict[str, Any] | None:
    """Reads the checkpoint that `newest` finds.

    Args:
        whole: whether parts are read; if not, `parts.fill` reads them later.

    Raises:
        UserError: as `newest`.
    """
    return _first_whole(folder, name, partial(read, whole=whole))


def files(folder: Path, name: str = "last") -> list[Path]:
    """The files that may be the newest checkpoint called `name`, the newest first, whether or not they exist."""
    names = [name, "previous"] if name == "last" else [name]
    return [folder / "checkpoints" / f"{one}.ckpt" for one in names]


def stamp(folder: Path) -> list[tuple[int, int]]:
    """Changes whenever the last checkpoint is written."""
    found = [file.stat() for file in files(folder) if file.exists()]
    return [(stat.st_ino, stat.st_mtime_ns) for stat in found]


def _first_whole(folder: Path, name: str, take: Callable[[Path], Found]) -> Found | None:
    wrong: Damaged | None = None
    for path in files(folder, name):
        try:
            found = take(path)
        except FileNotFoundError:
            continue
        except Damaged as damaged:
            wrong = wrong or damaged
            continue
        if path != files(folder, name)[0]:
            say(f"{wrong or f'{files(folder, name)[0]} is missing'}: {path} is taken instead, the state before it")
        return found
    if wrong is not None:
        raise Damaged(f"{wrong}, and there is no other: put a copy in its place, or train the run again")
    return None


def verify(path: Path) -> Path:
    """The path of an intact checkpoint of this format, without reading its content.

    Raises:
        Damaged: it was changed since it was written.
        UserError: it cannot be opened, or is of another format.
        FileNotFoundError: there is none.
    """
    with _opened(path) as stream:
        _check(path, stream)
        state = _load(stream) if any(entry.is_dir() for entry in path.parent.iterdir()) else None
    if isinstance(state, dict) and parts.KEY in state:
        parts.verified(path, state)
    return path


def read(path: Path, device: Any = "cpu", whole: bool = True) -> dict[str, Any]:
    """A checkpoint, after its sha256 was checked; nothing in it is executed. For `whole` see `load`.

    Raises:
        Damaged: it was changed since it was written.
        UserError: it cannot be opened, or is of another format.
        FileNotFoundError: there is none.
    """
    with _opened(path) as stream:
        _check(path, stream)
        state = _load(stream, device)
    if isinstance(state, Exception):
        raise Damaged(f"{path} cannot be read as a checkpoint ({_reason(state)})")
    if not isinstance(state, dict) or not state.keys() >= KEYS or not isinstance(state["counters"], dict):
        raise Damaged(f"{path} cannot be read as a checkpoint (it holds something else)")
    _check_format(path, state.get("format"))
    if parts.KEY in state:
        state[parts.KEY]["path"] = parts.verified(path, state)
    if whole:
        parts.fill(state)
    return state


def write(path: Path, state: Mapping[str, Any], *, keep: Path | None = None) -> None:
    """Replaces a checkpoint; the former file is kept under the name `keep`.

    Raises:
        OSError: the disk is full or the folder cannot be written; the former checkpoint stays.
    """
    import torch

    def whole(stream: IO[bytes]) -> None:
        summed = _Summed(stream)
        try:
            torch.save(dict(state), summed)  # type: ignore[arg-type]
        except RuntimeError:  # torch raises this if the stream fails
            if summed.error is None:
                raise
            raise summed.error from None
        stream.write(b"\nframe checkpoint, format %04d, sha256 %s\n" % (FORMAT, summed.digest.hexdigest().encode()))

    path.parent.mkdir(exist_ok=True)
    write_whole(path, whole, keep=keep)
    parts.sweep(path.parent, _content)


def clear(folder: Path) -> None:
    """Removes the files of a killed save from a run's folder. The caller must hold the run's lock."""
    for name in ("last.ckpt", "previous.ckpt", "best.ckpt"):
        clear_temporary(folder / "checkpoints" / name)
    parts.sweep(folder / "checkpoints", _content)
    for name in ("status.json", "config.yaml"):
        clear_temporary(folder / name)


class _Summed:
    """A file that hashes what is written to it, and remembers why a write failed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.digest = stream, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self.stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.stream.flush()


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(f"{path} cannot be read as a checkpoint ({error.strerror})") from None


def _check(path: Path, stream: IO[bytes]) -> None:
    """Raises Damaged if the sha256 differs from that of the last line, and UserError if the format is another."""
    body = os.fstat(stream.fileno()).st_size - LENGTH
    stream.seek(max(0, body))
    seal = SEAL.fullmatch(stream.read())
    stream.seek(0)
    if seal is None:
        state = _load(stream)  # written by another version or by hand: it may still name its format
        if isinstance(state, dict) and "model" in state:
            _check_format(path, state.get("format"))
        raise Damaged(f"{path} cannot be read as a checkpoint (the line with its sha256 is not at its end)")
    if int(seal[1]) != FORMAT:
        _check_format(path, int(seal[1]))
    digest = hashlib.sha256()
    while body > 0 and (block := stream.read(min(body, 1 << 20))):
        digest.update(block)
        body -= len(block)
    if digest.hexdigest().encode() != seal[2]:
        raise Damaged(f"{path} cannot be read as a checkpoint (its sha256 differs: it was changed)")
    stream.seek(0)


def _check_format(path: Path, found: Any) -> None:
    if type(found) is not int or found != FORMAT:
        raise UserError(
            f"{path} has format {found!r}, this version of frame reads format {FORMAT}: "
            "open the run with the version of frame that its code.json names"
        )


def _load(stream: IO[bytes], device: Any = "cpu") -> Any:
    """What torch reads, or the error if it cannot."""
    import torch

    try:
        return torch.load(stream, map_location=device, weights_only=True)
    except Exception as error:  # torch has no common error for bytes that it cannot read
        return error


def _content(path: Path) -> Any:
    """What torch reads of a file that may be damaged; None if nothing."""
    try:
        with path.open("rb") as stream:
            found = _load(stream)
    except OSError:
        return None
    return None if isinstance(found, Exception) else found


def _reason(error: Exception) -> str:
    lines = "no pickle" if isinstance(error, LookupError) else str(error).strip() or "cut short"
    return lines.splitlines()[0]
