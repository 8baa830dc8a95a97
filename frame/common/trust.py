"""The folders whose modules the user trusts, noted in the user's own configuration, as git's safe.directory does.

The file also holds a random key. A run that is trained here carries a seal that is made with it, so that nobody else
can write a run that passes for one of the user's own.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frame.common.errors import UserError
from frame.common.files import write_whole

TRAINED, TYPED = "trained", "typed"  # how a folder came to be trusted
WAIT = 10.0  # seconds for another process that writes the file


@dataclass(frozen=True)
class Trusted:
    """`folders` by their real path, each with TRAINED or TYPED; `key` is '' if there is no file yet."""

    key: str = ""
    folders: Mapping[str, str] = field(default_factory=dict)

    def how(self, folder: str | Path) -> str | None:
        """TRAINED, TYPED, or None if the folder is not trusted."""
        return self.folders.get(str(folder))


def place() -> Path:
    """The file: below $XDG_CONFIG_HOME or ~/.config."""
    config = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(config if os.path.isabs(config) else os.path.expanduser("~/.config"), "frame", "trusted.json")


def read() -> Trusted:
    """What the file says; nothing if there is none.

    Raises:
        UserError: it cannot be read.
    """
    file = place()
    try:
        found = json.loads(file.read_text())
        folders = found["folders"]
        if not isinstance(found["key"], str) or not all(how in (TRAINED, TYPED) for how in folders.values()):
            raise ValueError
    except FileNotFoundError:
        return Trusted()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file} is broken: remove it, then trust your folders again: frame trust FOLDER") from None
    return Trusted(found["key"], folders)


def trust(folder: Path) -> None:
    """Notes a folder that the user typed.

    Raises:
        UserError: it cannot be trusted, see `refusal`, or the file cannot be written.
    """
    why = refusal(folder)
    if why:
        raise UserError(f"{folder} {why}: trust the folder of one project")
    with _changing() as folders:
        folders[os.path.realpath(folder)] = TYPED


def trained_in(folder: Path | None) -> None:
    """Notes a folder in which the user trains, unless it is noted or cannot be trusted; None only makes the key.

    Raises:
        UserError: the file cannot be read or written.
    """
    known = read()
    real = os.path.realpath(folder) if folder is not None and not refusal(folder) else None
    if not known.key or real is not None and known.how(real) is None:
        with _changing() as folders:
            if real is not None:
                folders.setdefault(real, TRAINED)


def distrust(folder: Path) -> None:
    """Takes a folder out.

    Raises:
        UserError: it is not trusted, or the file cannot be written.
    """
    real = os.path.realpath(folder)
    if read().how(real) is None:
        raise UserError(f"{folder} is not trusted: `frame trust` lists the folders that are")
    with _changing() as folders:
        folders.pop(real, None)


def refusal(folder: Path) -> str:
    """Why a folder cannot be trusted, or ''. Strangers' files may lie in such a folder."""
    real = Path(os.path.realpath(folder))
    if not real.is_dir():
        return "is not a folder"
    home = Path(os.path.realpath(os.path.expanduser("~")))
    if home.is_relative_to(real):
        return "holds your whole home folder"
    return "can be written by everybody" if real.stat().st_mode & stat.S_IWOTH else ""


def sealed(what: Any) -> str:
    """The user's seal of plain values; '' if the user has no key."""
    key = read().key
    text = json.dumps(what, sort_keys=True)
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest() if key else ""


def is_sealed(what: Any, seal: Any) -> bool:
    """Whether `seal` is the user's own of these values."""
    own = sealed(what)
    return bool(own) and isinstance(seal, str) and hmac.compare_digest(own.encode(), seal.encode())


@contextmanager
def _changing() -> Iterator[dict[str, str]]:
    """The folders, which are written at the end, with a key that is made the first time. One process at a time."""
    from filelock import FileLock, Timeout  # not needed to read

    file = place()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(file.with_suffix(".lock"), timeout=WAIT):
            found = read()
            key, folders = found.key or secrets.token_hex(32), dict(found.folders)
            yield folders
            text = json.dumps({"key": key, "folders": folders}, indent=2) + "\n"
            write_whole(file, lambda stream: stream.write(text.encode()), mode=0o600)
    except Timeout:
        raise UserError(f"{file} is locked by another process: run the command again") from None
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror})") from None
