"""The command line: one parser, and for each command a table of its options. Nothing here imports torch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frame.commands.readers import (
    Reader,
    above_zero,
    any_names,
    device,
    file,
    folder,
    names,
    one_of,
    seeds,
    text,
    truth,
    whole,
)
from frame.common.errors import UserError, choices

HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2212"
QUOTES = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"


@dataclass(frozen=True)
class Command:
    """The words that a command takes.

    Args:
        usage: an example, in one line.
        options: by name, the reader of the value after `name=`.
        families: names before a dot that any option may follow: `launcher.timeout_min=60`.
        others: whether other words with '=' are kept, for Hydra or for a filter.
        places: smallest and largest number of folders, files or names without '='.
        needs: the message if there are too few or too many.
    """

    usage: str
    options: Mapping[str, Reader] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    others: bool = False
    places: tuple[float, float] = (0, math.inf)
    needs: str = ""

    @property
    def name(self) -> str:
        return self.usage.split()[1]


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
        if not key.strip() and equals or key != key.strip() and key.strip() in command.options or word == "":
            raise UserError(_spaces(word))
        if key in command.options:
            if key in typed.options:
                raise UserError(f"{key}= is typed twice: leave one out")
            typed.options[key] = command.options[key](key, _filled(key, value))
        elif family in command.families and option and equals:
            typed.families[family][option] = _filled(key, value)
        elif command.others and (word.startswith("~") or equals and not (is_place(word) and command.places[1] > 1)):
            typed.others.append(word)  # Hydra's groups may have '/' in their names
        elif is_place(word):
            typed.places.append(word)
        else:
            raise UserError(choices(key, [*command.options, *command.families], kind=f"option of {command.name}"))
    least, most = command.places
    if not most and typed.places:
        raise UserError(f"cannot read '{typed.places[0]}': write key=value, and quote a value that has spaces")
    if not least <= len(typed.places) <= most:
        raise UserError(f"{command.needs}: {command.usage}")
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
    if name in command.options:
        return f"no option '{word}': write {name}={value}"
    valid = [*command.options, *command.families, "--config-dir"]
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


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "frame train +experiment=NAME [key=value ...] [resume=RUN]", {"resume": text}, others=True, places=(0, 0)
        ),
        Command(
            "frame evaluate RUN [RUN ...] [evaluation=[a,b]] [a.n_samples=100] [evaluate_on=test] [checkpoint=best]"
            " [weights=raw] [packages=[a]] [device=cuda] [again=true] [allow_test=true]",
            {
                "evaluation": names,
                "evaluate_on": text,
                "checkpoint": one_of("last", "best"),
                "weights": one_of("average", "raw"),
                "packages": names,
                "device": device,
                "again": truth,
                "allow_test": truth,
            },
            others=True,
            places=(1, math.inf),
            needs="evaluate needs a run",
        ),
        Command(
            "frame list [FOLDER ...] [key=value] ['key>value'] [sort=-key] [columns=[a,b]]",
            {"sort": text, "columns": names},
            others=True,
        ),
        Command("frame show RUN [RUN ...]", places=(1, math.inf), needs="show needs a run"),
        Command(
            "frame export RUN [out=FOLDER] [checkpoint=best] [weights=raw] [format=onnx] [packages=[a]]"
            " [tolerance=1e-4]",
            {
                "out": folder,
                "checkpoint": one_of("last", "best"),
                "weights": one_of("average", "raw"),
                "format": one_of("safetensors", "onnx", "torch_export"),
                "packages": names,
                "tolerance": above_zero,
            },
            places=(1, 1),
            needs="export takes one run",
        ),
        Command("frame new model MyVAE", places=(2, 2), needs="new needs a kind and a name"),
        Command(
            "frame sweep FILE [seeds=5] [jobs=2] [run_cap=20] [folder=...] [launcher=submitit] [retry=true]"
            " [again=true] [key=value of runs ...]",
            {
                "seeds": seeds,
                "jobs": whole,
                "run_cap": whole,
                "folder": folder,
                "launcher": text,
                "retry": truth,
                "again": truth,
            },
            families=("launcher",),
            others=True,
            places=(1, 1),
            needs="sweep needs one file, or a study's folder",
        ),
        Command(
            "frame compare STUDY [RUN ...] rows=params.beta metrics=[ELBO/Test] [select=valid] [within=experiment]"
            " [against=...] [minimize=[a]] [columns=[a]] [sort=a] [allow_test=true]"
            " [out=table.tex]",
            {
                "rows": names,
                "metrics": names,
                "select": text,
                "within": text,
                "against": text,
                "minimize": any_names,
                "columns": any_names,
                "sort": text,
                "allow_test": truth,
                "out": file("it ends in one of", ".csv", ".md", ".tex"),
            },
            places=(1, math.inf),
            needs="compare needs a study or runs",
        ),
        Command(
            "frame plot STUDY x=params.beta y=METRIC [hue=model] [band=ci|sd|none] [log=x] [title=...] [kind=...]"
            " [name=...] [out=figure.pdf]",
            {
                "x": text,
                "y": text,
                "hue": names,
                "band": one_of("ci", "sd", "none"),
                "log": one_of("x", "y", "xy"),
                "title": text,
                "kind": one_of("values", "parallel", "pictures", "rate_distortion", "information_plane"),
                "name": text,
                "out": file("a figure ends in", ".pdf", ".svg", ".png", ".eps"),
            },
            places=(1, math.inf),
            needs="plot needs a study or runs",
        ),
        Command(
            "frame report STUDY [metrics=[a,b]] [rows=a,b] [out=report.html]",
            {"metrics": names, "rows": names, "out": file("a report ends in", ".html", ".htm")},
            places=(1, math.inf),
            needs="report needs a study or runs",
        ),
    )
}
