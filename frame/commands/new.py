"""`frame new`: writes a Python file, its YAML and its test, in the user's own folder or in a clone of frame.

The files are copies of those in templates/, which run as they are: `Mine` and the module's path are replaced.
"""

import importlib.util
import keyword
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from frame.commands import like as patterns
from frame.commands.parser import Command, Key, parse
from frame.commands.readers import text
from frame.common.errors import UserError, choices
from frame.common.files import writing
from frame.common.shell import pasted
from frame.composition.folders import config_folder, options, use_own_folder

COMMAND = Command(
    "new",
    "KIND NAME",
    "a Python file, its YAML and its test, ready to run: model, data, architecture, optimization, evaluation, logger, "
    "or an experiment",
    {"like": Key(text, "a pattern: a model, data set, network or evaluation", "a small example", "SimCLR", "patterns")},
    (
        ("frame new model MyVAE", "a method"),
        ("frame new model MySimCLR like=SimCLR", "its class, YAML, experiment and tests, under a new name"),
        ("frame new evaluation Sharpness --config-dir ~/thesis/config", "in a folder of your own"),
    ),
    places=(2, 2),
    needs="new needs a kind and a name",
    among="kinds",
)
TEMPLATES = Path(__file__).parent / "templates"
TRAIN = "frame train +experiment="


@dataclass(frozen=True)
class Kind:
    """A kind of file that can be written: its place, and the commands that run it."""

    package: str  # its folder in frame/ and tests/; '' if there is no Python file
    group: str  # config/<group>/NAME.yaml; '' if there is an experiment instead
    experiment: str  # config/experiment/<this>.yaml; '' for none
    commands: tuple[str, ...]


KINDS = {
    "model": Kind("models", "model", "digits_Mine", (TRAIN + "digits_Mine logging=csv",)),
    "data": Kind("data", "data", "", (TRAIN + "digits_VAE data=Mine train_for='20 epochs' logging=csv",)),
    "architecture": Kind("architectures", "", "digits_Mine", (TRAIN + "digits_Mine logging=csv",)),
    "optimization": Kind(
        "optimization", "optimization", "", (TRAIN + "digits_VAE optimization=Mine train_for='20 epochs' logging=csv",)
    ),
    "evaluation": Kind(
        "evaluation",
        "evaluation",
        "",
        (
            TRAIN + "digits_VAE train_for='20 epochs' logging=csv",
            "frame evaluate 'runs/digits_VAE/*' 'evaluation=[Mine]'",
        ),
    ),
    "logger": Kind("loggers", "logging", "", (TRAIN + "digits_VAE train_for='20 epochs' logging=Mine",)),
    "experiment": Kind("", "experiment", "", (TRAIN + "Mine logging=csv",)),
}


@dataclass(frozen=True)
class Place:
    """The folder to write into: a user's own, or a clone of frame."""

    root: Path
    clone: bool

    @classmethod
    def here(cls, folder: Path | None) -> "Place":
        """The parent of `folder` (--config-dir), else the clone around the current folder, else that folder."""
        ours = config_folder()
        repository = ours.parent if (ours.parent / "frame").is_dir() else None
        own = (folder or Path("config")).resolve()
        inside = repository is not None and Path.cwd().is_relative_to(repository) and not own.is_dir()
        if repository is not None and (own == ours or folder is None and inside):
            return cls(repository, True)
        return cls(own.parent, False)

    def module(self, kind: Kind, name: str) -> str:
        return f"frame.{kind.package}.{name}" if self.clone else name

    def files(self, word: str, name: str) -> dict[Path, str]:
        """The templates' names by the path to write, below the root."""
        kind = KINDS[word]
        found = {}
        if kind.package:
            found[Path(*self.module(kind, name).split(".")).with_suffix(".py")] = f"{word}.py"
        if kind.group:
            found[Path("config", kind.group, f"{name}.yaml")] = f"{word}.yaml"
        if kind.experiment:
            stem = kind.experiment.replace("Mine", name)
            found[Path("config", "experiment", f"{stem}.yaml")] = f"{word}_experiment.yaml"
        below = kind.package if self.clone else ""
        found[Path("tests", below, f"test_{name}.py")] = f"{word}_test.py"
        return found


def new(word: str, name: str, folder: Path | None = None, like: str | None = None) -> str:
    """Writes the files, none of which may exist, and returns what to read and to type next.

    Args:
        word: a key of KINDS.
        name: name of the class, its module and its YAML file.
        folder: the user's config/, by default the current folder's.
        like: the name of a model, data set, network or evaluation that the new one starts as; None: a small example.

    Raises:
        UserError: the kind or the pattern is unknown, the name is taken, or a file exists.
    """
    if word not in KINDS:
        raise UserError(choices(word, KINDS, kind="kind to make"))
    use_own_folder(folder)
    place = Place.here(folder)
    kind = KINDS[word]
    _check_name(word, name, place)
    if like is None:
        files = {path: _filled(template, word, name, place) for path, template in place.files(word, name).items()}
    else:
        kind, files = _like(word, name, place, like)
    there = next((path for path in files if (place.root / path).exists()), None)
    if there is not None:
        raise UserError(f"{there} exists, and nothing is overwritten: choose another name")
    _check_free(kind, word, name, place)
    for path, content in files.items():
        target = place.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x") as stream:
            stream.write(content)
    lines = [f"{'wrote' if i == 0 else '':<6} {_shown(place.root / path)}" for i, path in enumerate(files)]
    if place.clone and (kind.experiment or word == "experiment"):
        _mention(place.root / "docs" / "methods.md", name, kind)
        lines.append("       a line in docs/methods.md, to be filled in")
    lines += [f"{'run' if i == 0 else '':<6} {line}" for i, line in enumerate(_commands(kind, name, place, folder))]
    return "\n".join([*lines, f"test   {_test_command(list(files)[-1], place)}"])


def _check_name(word: str, name: str, place: Place) -> None:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        suggestion = re.sub(r"\W", "_", name).strip("_")
        good = suggestion.isidentifier() and not keyword.iskeyword(suggestion)
        raise UserError(
            f"'{name}' cannot be the name of a class and a file: write {suggestion if good else f'My{word.title()}'}"
        )
    families = {option.split("_")[0] for option in options("experiment")}
    if place.clone and word == "experiment" and ("_" not in name or name.split("_")[0] not in families):
        raise UserError(f"an experiment in this repository is called <data>_<what it is>: write digits_{name}")


def _like(word: str, name: str, place: Place, like: str) -> tuple[Kind, dict[Path, str]]:
    """The kind with the pattern's group and experiment, and the files by their paths below the root."""
    pattern = patterns.find(word, like)
    made = patterns.copied(pattern, name, place.module(KINDS[word], name))
    kind = replace(KINDS[word], group=pattern.group, experiment=made.experiment)
    if made.experiment:
        run = f"{TRAIN}{made.experiment} logging=csv"
        kind = replace(kind, commands=(run,))
    test = Path("tests", kind.package if place.clone else "", f"test_{name}.py")
    files = {Path(*place.module(kind, name).split(".")).with_suffix(".py"): made.source}
    files[Path("config", pattern.group, f"{name}.yaml")] = made.yaml
    if made.experiment:
        files[Path("config", "experiment", f"{made.experiment}.yaml")] = made.experiment_text
    return kind, {**files, test: _in_place(made.test, place, KINDS[word])}


def _check_free(kind: Kind, word: str, name: str, place: Place) -> None:
    near = f"choose another name, such as My{name[0].upper()}{name[1:]}"
    # names that differ only in case are one file on some systems
    taken = {option.lower(): option for option in (options(kind.group) if kind.group else [])}
    if name.lower() in taken:
        raise UserError(f"there is {_a(word)} '{taken[name.lower()]}' already: {near}")
    experiment = kind.experiment.replace("Mine", name)
    if experiment and experiment in options("experiment"):
        raise UserError(f"there is an experiment '{experiment}' already: {near}")
    if kind.package and not place.clone and importlib.util.find_spec(name) is not None:
        raise UserError(f"there is a Python module '{name}' already: {near}")


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _filled(template: str, word: str, name: str, place: Place) -> str:
    text = (TEMPLATES / template).read_text()
    text = text.replace(f"frame.commands.templates.{word}", place.module(KINDS[word], name)).replace("Mine", name)
    return _in_place(text, place, KINDS[word])


def _in_place(text: str, place: Place, kind: Kind) -> str:
    """A text as it must be in the clone: its tests are one folder further down, and imports are sorted."""
    if not place.clone:
        return text
    depth = 2 if kind.package else 1
    text = text.replace("parents[1]", f"parents[{depth}]")
    return re.sub(r"(?:^from frame\..* import .*\n)+", _sorted, text, flags=re.MULTILINE)


def _sorted(block: re.Match[str]) -> str:
    return "".join(sorted(block[0].splitlines(keepends=True), key=str.lower))


def _mention(page: Path, name: str, kind: Kind) -> None:
    """Adds a line to the page of methods, which a test keeps complete."""
    experiment = kind.experiment.replace("Mine", name) or name
    method = f"`{name}`" if kind.package == "models" else "`VAE`"
    row = f"| {method} | none yet | describe here what it adds | `{experiment}` |\n"
    heading = "## Not sorted yet\n\n| method | paper | what it is | experiments |\n|---|---|---|---|\n"
    before, after, rest = page.read_text().partition("## Floors\n")
    if heading in before:
        before = before.replace(heading, heading + row)
    else:
        before += f"{heading}{row}\n"
    page.write_text(before + after + rest)


def _commands(kind: Kind, name: str, place: Place, folder: Path | None) -> list[str]:
    """The commands as they can be typed here."""
    elsewhere = f" --config-dir {_shown(folder.resolve())}" if folder is not None else ""
    lines = [line.replace("Mine", name).replace("frame ", "", 1) for line in kind.commands]
    lines = [re.sub(r"^\w+", lambda verb: f"frame {verb[0]}{elsewhere}", line) for line in lines]
    if "evaluate" in lines[-1] and not place.clone:
        lines[-1] += f" 'packages=[{name}]'"
    beside = Path(sys.executable).parent
    found = shutil.which("frame")
    activated = found is not None and Path(found).parent == beside
    return lines if activated else [f"{pasted(_shown(beside))}/{line}" for line in lines]


def _test_command(test: Path, place: Place) -> str:
    python = "python" if shutil.which("python") == sys.executable else _shown(Path(sys.executable))
    there = "" if place.root == Path.cwd() else f"cd {pasted(_shown(place.root))} && "
    if there and not Path(python).is_absolute() and python != "python":
        python = sys.executable
    return there + pasted(python, "-m", "pytest", "-q", test)


def _shown(path: Path) -> str:
    """Relative if it is below the current folder."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def run(words: Sequence[str]) -> int:
    """`frame new`."""
    typed = parse(COMMAND, words)
    with writing(Path.cwd()):
        print(new(typed.places[0], typed.places[1], typed.config_dir, typed.options.get("like")))
    return 0
