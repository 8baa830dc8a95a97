"""The command line: one parser. Each command declares the words that it takes, in its own file as COMMAND.

What is declared is parsed, shown by `--help` and completed by the tab key. Nothing here imports torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from frame.commands.readers import Reader
from frame.common.errors import UserError, choices

HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2212"
QUOTES = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"


Among = Literal["", "runs", "evaluations", "metrics", "keys", "kinds", "patterns"]  # what the tab key completes


@dataclass(frozen=True)
class Key:
    """An option, typed `key=value`.

    Args:
        read: reads the value.
        what: what it is for, in a few words.
        default: what holds without it, in words; '' if there is nothing to say.
        looks: how a value is typed; '' leaves it to the reader.
        among: what the tab key completes; '' offers the words that the reader knows.
    """

    read: Reader
    what: str
    default: str = ""
    looks: str = ""
    among: Among = ""


@dataclass(frozen=True)
class Command:
    """The words that a command takes, and its help.

    Args:
        name: of the command, and of its file.
        takes: how folders, files or names are typed, in the order in which they come; '' if there are none.
        what: what it does; the first line stands in the list of all commands.
        keys: by name, the options.
        examples: lines that can be typed, and what each does.
        families: names before a dot that any option may follow, `launcher.timeout_min=60`, and what they are for.
        others: what other words with '=' are, for Hydra or for a filter; '' refuses them.
        places: smallest and largest number of folders, files or names without '='.
        needs: the message if there are too few or too many.
        among: what the tab key completes where a folder, file or name is typed; '' offers files.
        prints: whether the output is its work.
    """

    name: str
    takes: str
    what: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    examples: Sequence[tuple[str, str]] = ()
    families: Mapping[str, str] = field(default_factory=dict)
    others: str = ""
    places: tuple[float, float] = (0, math.inf)
    needs: str = ""
    among: Among = ""
    prints: bool = False

    @property
    def usage(self) -> str:
        """`frame export RUN [key=value ...]`."""
        more = "[key=value ...]" if self.keys or self.others else ""
        return " ".join(["frame", self.name, *filter(None, (self.takes, more))])


@dataclass(frozen=True)
class Words:
    """The parsed words: `places` have no '=', `options` are read, and `others` are as they were typed."""

    places: list[str]
    options: dict[str, Any]
    others: list[str]
    families: dict[str, dict[str, str]]
    config_dir: Path | None


def parse(command: Command, words: Sequence[str]) -> Words:
    """Parses the words after a command.

    Raises:
        UserError: a name is unknown or typed twice, a value cannot be read, a word has the form `--name=value`, or the
            number of places is wrong.
    """
    rest, config_dir = own_folder(words)
    typed = Words([], {}, [], {name: {} for name in command.families}, config_dir)
    for number, word in enumerate(rest):
        check_characters(word)
        key, equals, value = word.partition("=")
        family, _, option = key.partition(".")
        if word.startswith("-"):
            raise UserError(_flag(word, rest[number + 1 :], command))
        if not key.strip() and equals or key != key.strip() and key.strip() in command.keys or word == "":
            raise UserError(_spaces(word))
        if key in command.keys:
            if key in typed.options:
                raise UserError(f"{key}= is typed twice: leave one out")
            typed.options[key] = command.keys[key].read(key, _filled(key, value))
        elif family in command.families and option and equals:
            typed.families[family][option] = _filled(key, value)
        elif command.others and (word.startswith("~") or equals and not (is_place(word) and command.places[1] > 1)):
            typed.others.append(word)  # Hydra's groups may have '/' in their names
        elif is_place(word):
            typed.places.append(word)
        else:
            raise UserError(choices(key, [*command.keys, *command.families], kind=f"option of {command.name}"))
    least, most = command.places
    if not most and typed.places:
        raise UserError(f"cannot read '{typed.places[0]}': write key=value, and quote a value that has spaces")
    if not least <= len(typed.places) <= most:
        raise UserError(f"{command.needs}: {command.examples[0][0] if command.examples else command.usage}")
    return typed


def check_characters(word: str) -> None:
    """Raises UserError if a word holds a typographic hyphen, quote or space, as office programs write them."""
    _, _, value = word.partition("=")
    if word[:1] and word[0] in HYPHENS:
        raise UserError(f"'{word}' begins with '{word[0]}', which is not a hyphen: type it again by hand")
    for part in (word, value):
        if part[:1] and (part[0] in QUOTES or part[-1] in QUOTES and any(sign in part[:-1] for sign in QUOTES)):
            raise UserError(f"{word} has quotes of a web page: type it again with ' or \"")
    for sign, name in (("\u00a0", "a no-break space"), ("\u200b", "a space without width"), ("\ufeff", "a byte mark")):
        if sign in word:
            raise UserError(f"'{word.replace(sign, ' ').strip()}' holds {name} of a web page: type it again by hand")
    if "\0" in word:
        raise UserError("a word holds a zero byte: type it again by hand")


def _flag(word: str, after: Sequence[str], command: Command) -> str:
    name, equals, value = word.lstrip("-").partition("=")
    value = value if equals else next(iter(after), "...")
    if name in command.keys:
        return f"no option '{word}': write {name}={value}"
    valid = [*command.keys, *command.families, "--config-dir"]
    return choices(word.split("=")[0], valid, kind=f"option of {command.name}") + "; settings are written key=value"


def _spaces(word: str) -> str:
    if not word:
        return "a word is empty: is a variable of your shell not set?"
    key, _, value = (part.strip() for part in word.partition("="))
    return f"'{word}': write {key or 'key'}={value or 'value'}, without spaces around ="


def _filled(name: str, value: str) -> str:
    if not value.strip():
        raise UserError(f"{name}= has no value: write {name}=..., without spaces around =")
    return value


def is_place(word: str) -> bool:
    """Whether a word is a folder or pattern and not key=value. A sweep's cells have '=' in their names."""
    key, equals, _ = word.partition("=")
    return not equals or "/" in key or _exists(word)


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except OSError:  # longer than the largest file name
        return False


def own_folder(words: Iterable[str]) -> tuple[list[str], Path | None]:
    """Removes --config-dir DIR from the words, and returns both."""
    rest: list[str] = []
    found = None
    iterator = iter(words)
    for word in iterator:
        name, equals, value = word.partition("=")
        if name not in ("--config-dir", "-cd"):
            rest.append(word)
            continue
        value = value if equals else next(iterator, "")
        if not value or "=" in value and not Path(value).is_dir():
            raise UserError(f"{name} needs a folder: {name}=DIR")
        if found is not None:
            raise UserError(f"{name} is typed twice: leave one out")
        found = Path(value).expanduser()
    return rest, found
