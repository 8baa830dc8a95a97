"""Readers of option values on the command line. Each raises UserError that says what to write instead."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame.common.errors import UserError, choices

Reader = Callable[[str, str], Any]  # takes the option's name and the text of its value
MOST = 1_000_000_000  # a larger count is a typing error


def text(name: str, value: str) -> str:
    return value


def names(name: str, value: str) -> list[str]:
    """'[a,b]' or 'a,b', not empty."""
    found = any_names(name, value)
    if not found:
        raise UserError(f"{name}={value}: the list is empty: leave {name} out, or name something")
    return found


def any_names(name: str, value: str) -> list[str]:
    """'[a,b]' or 'a,b'; '[]' is empty."""
    if value.startswith("[") != value.endswith("]"):
        raise UserError(f"{name}={value}: write {name}=[a,b], in quotes if a name has spaces")
    return list(dict.fromkeys(listed(value)))


def truth(name: str, value: str) -> bool:
    return one_of("true", "false")(name, value.lower()) == "true"


def whole(name: str, value: str) -> int:
    """A whole number of at least 1."""
    if not re.fullmatch(r"[0-9]{1,20}", value) or not 1 <= int(value) <= MOST:
        raise UserError(f"{name}={value}: write a whole number, at least 1")
    return int(value)


def auto_or_whole(name: str, value: str) -> int | str:
    """'auto', or a whole number of at least 1."""
    return value if value == "auto" else whole(name, value)


def above_zero(name: str, value: str) -> float:
    try:
        number = float(value) if value.isascii() else math.nan
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UserError(f"{name}={value}: {name} is a number above 0, such as 1e-4")
    return number


def seeds(name: str, value: str) -> tuple[int, ...]:
    """'5' means 1 to 5, '[0,7]' these two."""
    if re.fullmatch(r"[0-9]{1,20}", value) and 1 <= int(value) <= 100_000:
        return tuple(range(1, int(value) + 1))
    found = listed(value)
    if not value.startswith("[") and len(found) < 2 or not all(re.fullmatch(r"[0-9]{1,18}", seed) for seed in found):
        raise UserError(f"{name}={value}: write how many, such as {name}=5, or which, such as {name}=[1,2,3]")
    if not found or len(set(map(int, found))) < len(found):
        raise UserError(f"{name}={value}: " + ("a seed occurs twice" if found else "it has no seed"))
    return tuple(map(int, found))


@dataclass(frozen=True)
class OneOf:
    """Reads one of some words."""

    valid: tuple[str, ...]

    def __call__(self, name: str, value: str) -> str:
        if value not in self.valid:
            raise UserError(choices(value, self.valid, kind=name))
        return value


def one_of(*valid: str) -> OneOf:
    return OneOf(valid)


def folder(name: str, value: str) -> Path:
    """A folder that exists or can be made; checks the nearest parent that exists."""
    path = Path(value).expanduser()
    above = next(place for place in (path, *path.absolute().parents) if place.exists() or place.is_symlink())
    if not above.is_dir():
        raise UserError(f"{name}={value}: {above} is not a folder")
    return path


@dataclass(frozen=True)
class FileWith:
    """Reads a file to write, with one of these suffixes, in a folder that exists or can be made."""

    what: str
    endings: tuple[str, ...]

    def __call__(self, name: str, value: str) -> Path:
        path = Path(value).expanduser()
        if path.suffix not in self.endings:
            raise UserError(f"{name}={value}: {self.what} {', '.join(self.endings)}")
        if path.is_dir():
            raise UserError(f"{name}={value} is a folder: name a file")
        folder(name, str(path.parent))
        return path


def file(what: str, *endings: str) -> FileWith:
    return FileWith(what, endings)


def device(name: str, value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", value):
        raise UserError(f"{name}={value}: write {name}=cpu, cuda, cuda:1 or auto")
    return value


def listed(text: str) -> list[str]:
    """'[a,b]' or 'a,b' as a list of names."""
    return [name.strip() for name in text.strip("[]").split(",") if name.strip()]


LOOKS: dict[Reader, str] = {
    text: "TEXT",
    names: "[a,b]",
    any_names: "[a,b]",
    truth: "true",
    whole: "N",
    auto_or_whole: "N|auto",
    above_zero: "NUMBER",
}
LOOKS |= {seeds: "N", folder: "FOLDER", device: "auto|cpu|cuda|mps"}


def looks(read: Reader) -> str:
    """How a value that this reads is typed, for the help."""
    if isinstance(read, OneOf):
        return "|".join(read.valid)
    return f"FILE{'|'.join(read.endings)}" if isinstance(read, FileWith) else LOOKS.get(read, "VALUE")


def known(read: Reader) -> tuple[str, ...]:
    """The words that this reads if they are few, for the tab key."""
    return (
        read.valid
        if isinstance(read, OneOf)
        else ("true", "false")
        if read is truth
        else ("auto",)
        if read is auto_or_whole
        else ()
    )
