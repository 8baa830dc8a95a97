"""What `--help` prints, made from what each command declares. Finds the commands by folder; imports no torch."""

import importlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from frame.commands.parser import Command, Key
from frame.commands.readers import looks

WIDTH = 100
COLUMN = 26  # where descriptions begin, at most
ANY_COMMAND = {
    "--config-dir=DIR": "your folder of YAML files (default: config/ of the working folder)",
    "debug=trace": "the whole traceback of an error",
}
START = (
    ("frame train +experiment=digits_VAE", "trains an experiment"),
    ("frame show runs/digits_VAE", "what came out"),
    ("frame COMMAND --help", "the options of a command"),
    ('eval "$(frame -sc install=bash)"', "tab completion, also for zsh and fish"),
)


@cache
def names() -> tuple[str, ...]:
    """All commands: the files in this folder that declare one."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(file.stem for file in files if "\nCOMMAND = Command(" in file.read_text())


def module(name: str) -> ModuleType:
    """The file of a command, with its COMMAND and its `run(words)`."""
    return importlib.import_module(f"frame.commands.{name}")


def command(name: str) -> Command:
    found: Command = module(name).COMMAND
    return found


def overview() -> str:
    """All commands, each with its first line."""
    all_of_them = {name: command(name).what for name in names()}
    return "\n\n".join(
        ["frame: representation-learning experiments composed from YAML", table(all_of_them), examples(START)]
    )


def help_of(command: Command, more: Iterable[str] = ()) -> str:
    """The usage of a command, its keys with their defaults, and examples; `more` comes before the examples."""
    keys = {f"{name}={key.looks or looks(key.read)}": _described(key) for name, key in command.keys.items()}
    keys |= {f"{name}.KEY=value": what for name, what in command.families.items()}
    if command.others:
        keys["KEY=value"] = command.others
    described = textwrap.fill(f"{command.what[0].upper()}{command.what[1:]}.", WIDTH)
    return "\n\n".join([command.usage, described, table(keys | ANY_COMMAND), *more, examples(command.examples)])


def _described(key: Key) -> str:
    return f"{key.what} (default: {key.default})" if key.default else key.what


def table(rows: Mapping[str, str]) -> str:
    """Two columns within WIDTH; a long name has a line of its own."""
    column = min(COLUMN, max(map(len, rows)) + 4)
    lines = []
    for name, what in rows.items():
        text = textwrap.wrap(what, WIDTH - column, break_on_hyphens=False) or [""]
        fits = len(name) + 4 <= column
        lines.append(f"{f'  {name}':<{column}}{text.pop(0)}".rstrip() if fits else f"  {name}")
        lines += [" " * column + line for line in text if line]
    return "\n".join(lines)


def examples(lines: Sequence[tuple[str, str]]) -> str:
    """Commands, each with what it does behind it, or above it if one is too long."""
    longest = max(len(line) for line, _ in lines)
    if all(longest + len(what) + 7 <= WIDTH for _, what in lines):
        return "\n".join(["For example", *(f"  {line:<{longest}}  # {what}" for line, what in lines)])
    return "\n".join(["For example", *(f"  # {what}\n  {line}" for line, what in lines)])
