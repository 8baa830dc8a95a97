"""What the tab key completes: commands, keys, and the names of evaluations, runs, metrics and kinds.

Hydra's script for the shell asks, and Hydra itself completes the config keys of `frame train`. Nothing here imports
torch.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from frame.commands import help as helps
from frame.commands.parser import Command, is_place
from frame.commands.readers import known
from frame.common.errors import UserError

if TYPE_CHECKING:
    from frame.runs.summary import RunSummary

SAFE = re.compile(r"[\w./@=,:%+\-\[\]]+")  # the shell expands what it is offered: no name of a run may be a command
MOST_FOLDERS = 2_000  # folders that are looked into for a run


def completions(line: str) -> list[str] | None:
    """What can stand in the place of the last word of a command line.

    Args:
        line: up to the cursor, beginning with the name of the program.

    Returns:
        words that begin as the last one does; an empty list lets the shell offer files. None: Hydra knows.
    """
    words = line.split(" ")[1:]
    *before, word = words or [""]
    before = [each for each in before if each]
    if not before:
        return _safe(word, helps.names())
    if before[0] not in helps.names():
        return []
    command = helps.command(before[0])
    key, equals, _ = word.partition("=")
    if equals and key in command.keys:
        return _safe(word, _values(command, key, word, before[1:]))
    if before[0] == "train":
        return None
    places = _places(command, word, before[1:])
    return _safe(word, places or [f"{name}=" for name in command.keys if f"{name}=" not in " ".join(before)])


def _safe(word: str, found: Iterator[str] | Sequence[str]) -> list[str]:
    return sorted({each for each in found if each.startswith(word) and SAFE.fullmatch(each)})


def _values(command: Command, key: str, word: str, before: Sequence[str]) -> list[str]:
    """`key=value` for each value; in a list, the last name is completed."""
    option = command.keys[key]
    start = word[: max(word.rfind(sign) for sign in "=[,") + 1]  # what is typed already
    if option.among == "runs":
        return [f"{key}={run}" for run in _runs(word.partition("=")[2])]
    names = AMONG[option.among](_typed_places(before)) if option.among else known(option.read)
    sign = "-" if word[len(start) :].startswith("-") else ""  # sort=-KEY
    return [f"{start}{sign}{name}" for name in names]


def _places(command: Command, word: str, before: Sequence[str]) -> list[str]:
    if "=" in word:
        return []
    if command.among == "runs":
        return _runs(word)
    return [*AMONG[command.among]([])] if command.among and not before else []


def _typed_places(before: Sequence[str]) -> list[str]:
    return [each.strip("'\"") for each in before if is_place(each)] or ["runs"]


def _runs(typed: str) -> list[str]:
    """Runs, and folders that hold some, that begin as it was typed; a folder ends in '/'."""
    from frame.runs.listing import is_run

    if not typed and Path("runs").is_dir():
        return ["runs/"]
    if not typed:
        return []
    folder, _, _ = typed.rpartition("/")
    inside = Path(folder or ("/" if typed.startswith("/") else "."))
    found = []
    with suppress(OSError):
        for path in sorted(inside.iterdir()):
            shown = f"{folder}/{path.name}" if "/" in typed else path.name
            if shown.startswith(typed) and path.is_dir() and _holds_a_run(path):
                found.append(shown if is_run({entry.name for entry in path.iterdir()}) else f"{shown}/")
    return found


def _holds_a_run(folder: Path) -> bool:
    from frame.runs.listing import is_run

    walked = islice(os.walk(folder), MOST_FOLDERS)
    return any(is_run({*files, *below}) for _, below, files in walked)


def _metrics(places: Sequence[str]) -> list[str]:
    return _of_summaries(places, lambda summary: [name for name in summary.newest if "/floor/" not in name])


def _keys(places: Sequence[str]) -> list[str]:
    return _of_summaries(places, lambda summary: ["seed", *summary.keys()])


def _of_summaries(places: Sequence[str], names: "Callable[[RunSummary], Sequence[str]]") -> list[str]:
    from frame.runs.listing import find, summaries

    with suppress(UserError), redirect_stderr(StringIO()):  # a damaged run is named by the command itself
        return [name for summary in summaries(find(places)) for name in names(summary)]
    return []


def _evaluations(places: Sequence[str]) -> list[str]:
    from frame.composition.folders import options

    return options("evaluation")


def _kinds(places: Sequence[str]) -> list[str]:
    from frame.commands.new import KINDS

    return [*KINDS]


def _patterns(places: Sequence[str]) -> list[str]:
    from frame.commands.new import KINDS
    from frame.composition.folders import options

    return [name for kind in KINDS.values() if kind.group for name in options(kind.group)]


AMONG: Mapping[str, Callable[[Sequence[str]], list[str]]] = {
    "metrics": _metrics,
    "keys": _keys,
    "evaluations": _evaluations,
    "kinds": _kinds,
    "patterns": _patterns,
}
