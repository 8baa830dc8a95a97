"""`frame new KIND NAME like=PATTERN`: copies of a pattern's class, YAML and experiment, under a new name.

The functions and constants of its module that the class uses are copied, and other classes are imported from there.
Nothing here imports torch.
"""

import ast
import importlib.util
import io
import json
import re
import sys
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from frame.common.errors import UserError, choices
from frame.composition.folders import config_folders, file_of, options
from frame.composition.plain import parse_yaml

TEMPLATES = Path(__file__).parent / "templates" / "like"
WIDTH = 120
QUICK = (
    "digits_",
    "gaussians_",
    "linear_units_",
    "sprites_",
)  # experiments on data that need no download, the best first
MEASURED = re.compile(r"^evaluations:.*\n(?:(?:  .*)?\n)*", re.MULTILINE)  # the evaluations of an experiment
BARE = """defaults:
  - /model: {model}
  - /data: {data}
  - /{group}: {name}

params:
  batch_size: 64

train_for: 20 epochs

evaluations: auto
"""
GROUPS = {"model": "model", "data": "data", "architecture": "architectures", "evaluation": "evaluation"}


@dataclass(frozen=True)
class Pattern:
    """What is copied.

    Args:
        kind: a key of GROUPS.
        option: the name of its YAML file, such as 'SimCLR' or, of a network, 'encoder/conv'.
        target: the class that the file names, such as 'frame.models.SimCLR.SimCLR'.
        text: the YAML file.
    """

    kind: str
    option: str
    target: str
    text: str

    @property
    def module(self) -> str:
        return self.target.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.target.rpartition(".")[2]

    @property
    def group(self) -> str:
        """The folder of its YAML file: 'model', or 'architectures/encoder'."""
        return f"{GROUPS[self.kind]}/{self.option.rpartition('/')[0]}".rstrip("/")


def find(kind: str, option: str) -> Pattern:
    """The pattern of this name.

    Raises:
        UserError: there is none, or several networks have this name.
    """
    if kind not in GROUPS:
        raise UserError(f"like= is for {', '.join(GROUPS)}: leave it out")
    known = patterns(kind)
    same = [name for name in known if name.rpartition("/")[2] == option]
    if option not in known and len(same) > 1:
        raise UserError(f"like={option}: there are several, write one of {', '.join(f'like={name}' for name in same)}")
    if option not in known and not same:
        raise UserError(choices(option, known, kind=kind))
    name = option if option in known else same[0]
    file = file_of(GROUPS[kind], name)
    assert file is not None
    text = file.read_text()
    node = parse_yaml(text)
    node = node.get("model") if kind == "model" else node
    if isinstance(node, dict) and kind == "architecture":
        node = node.get("backbone", node)  # what stands behind the head is the network
    target = node.get("_target_") if isinstance(node, dict) else None
    if not isinstance(target, str) or "." not in target:
        raise UserError(f"{file} names no class of its own: choose another pattern")
    return Pattern(kind, name, target, text)


def patterns(kind: str) -> list[str]:
    """The names that `like=` takes for a kind."""
    if kind != "architecture":
        return options(GROUPS[kind])
    found = {
        file.relative_to(root / "architectures").with_suffix("").as_posix()
        for root in config_folders()
        for file in (root / "architectures").glob("*/*.yaml")
    }
    return sorted(found)


@dataclass(frozen=True)
class Copy:
    """The texts of the new files, and the name of the experiment; '' if there is none."""

    source: str
    yaml: str
    experiment: str
    experiment_text: str
    test: str


def copied(pattern: Pattern, name: str, module: str) -> Copy:
    """The pattern under a new name.

    Args:
        pattern: what is copied.
        name: of the class and its YAML file.
        module: of the class.

    Raises:
        UserError: the pattern's source cannot be found, or there is no such class in it.
    """
    text = pattern.text.replace(f"_target_: {pattern.target}", f"_target_: {module}.{name}", 1)
    if pattern.kind == "evaluation":
        text = re.sub(r"^name: .*$", f"name: {name}", text, count=1, flags=re.MULTILINE)
    base = _experiment(pattern)
    stem = f"{name}_{base.partition('_')[2]}" if pattern.kind == "data" else f"{base.partition('_')[0]}_{name}"
    return Copy(
        _source(pattern, name),
        text,
        stem,
        _renamed_experiment(base, pattern, name, stem),
        _test(base, pattern, name, stem),
    )


# The experiment


def _experiment(pattern: Pattern) -> str:
    """The experiment that is copied: it uses the pattern, on data that need no download if there is one."""
    texts = _experiments(*config_folders())
    if pattern.kind == "evaluation":
        found = [stem for stem, text in texts.items() if _settings(text, pattern.option) is not None]
        return _first(found, pattern) or _suited(pattern)
    if pattern.kind == "architecture":
        return _with_network(texts, pattern)
    line = rf"^  - (override )?/{pattern.kind}: {pattern.option}$"
    return (
        _first([stem for stem, text in texts.items() if re.search(line, text, re.MULTILINE)], pattern) or "digits_VAE"
    )


@cache
def _experiments(*folders: Path) -> dict[str, str]:
    """The texts of all experiments, by name."""
    return {stem: file.read_text() for stem in options("experiment") if (file := file_of("experiment", stem))}


def _first(stems: Sequence[str], pattern: Pattern) -> str:
    def order(stem: str) -> tuple[Any, ...]:
        quick = next((i for i, start in enumerate(QUICK) if stem.startswith(start)), len(QUICK))
        return quick, not stem.endswith(f"_{pattern.option}"), stem != "digits_VAE", len(stem), stem

    return min(stems, key=order, default="")


def _suited(pattern: Pattern) -> str:
    """An experiment for an evaluation that none names, by what its source asks for."""
    source = _file(pattern.module).read_text()
    if '"factors"' in source:
        return "sprites_VAE"
    return "digits_Classifier" if "Predicts" in source and "Encodes" not in source else "digits_VAE"


def _with_network(texts: dict[str, str], pattern: Pattern) -> str:
    """An experiment of a model that suggests this network, or else another one in its place."""
    group, _, option = pattern.option.rpartition("/")
    found: dict[bool, list[str]] = {True: [], False: []}
    for stem, text in texts.items():
        file = file_of("model", _chosen(text, "model"))
        suggests = re.search(rf"architectures/{group}: (\w+)", file.read_text()) if file else None
        if suggests:
            found[suggests[1] == option].append(stem)
    return _first(found[True], pattern) or _first(found[False], pattern) or "digits_VAE"


def _chosen(text: str, group: str) -> str:
    """The option of a group that an experiment names; '' if another experiment does for it."""
    found = re.search(rf"^  - (?:override )?/{group}: (\w+)$", text, re.MULTILINE)
    return found[1] if found else ""


def _renamed_experiment(base: str, pattern: Pattern, name: str, stem: str) -> str:
    lines = _experiments(*config_folders())[base].splitlines()
    cut = next(i for i, line in enumerate(lines) if line.startswith("defaults:"))
    head, body = lines[:cut], "\n".join(lines[cut:]) + "\n"
    if pattern.kind == "architecture":
        body = BARE.format(model=_chosen(body, "model"), data=_chosen(body, "data"), group=pattern.group, name=name)
    elif pattern.kind == "evaluation":
        body = _with_evaluation(body, pattern, name)
    else:
        body = re.sub(rf"(/{pattern.kind}: )\w+$", rf"\g<1>{name}", body, count=1, flags=re.MULTILINE)
    kept = [line for line in head if re.match(r"# (Paper|Loss|Deviations):", line)]
    said = {line.split(":")[0] for line in kept}
    kept += [f"# {key}: none yet." for key in ("Paper", "Loss", "Deviations") if f"# {key}" not in said]
    about = f"# {name}, which starts as {pattern.option}. Else as {base}."
    closing = [f"# Command: frame train +experiment={stem}", "# Result: Not yet measured."]
    return "\n".join(["# @package _global_", about, *kept, *closing, body])


def _with_evaluation(body: str, pattern: Pattern, name: str) -> str:
    """The evaluation alone, with the settings that the experiment has for the pattern."""
    rest = MEASURED.sub("", body).rstrip("\n")
    return f"{rest}\n\nevaluations:\n  {name}: {_settings(body, pattern.option) or '{}'}\n"


def _settings(text: str, option: str) -> str | None:
    """What an experiment writes behind an evaluation; None if it does not name it, or not in one line."""
    found = re.search(
        rf"^  {option}: (\{{.*\}})$", "".join(block[0] for block in MEASURED.finditer(text)), re.MULTILINE
    )
    return found[1] if found else None


# The tests


def _test(base: str, pattern: Pattern, name: str, stem: str) -> str:
    if pattern.kind == "evaluation":
        return _filled("evaluation_test.py", EXPERIMENT=stem, MINE=name, PATTERN=pattern.option)
    theirs = [f"experiment={base}"]
    if pattern.kind == "architecture":  # the experiment names no other values of this network
        theirs = [f"experiment={stem}", pattern.group + "=" + pattern.option.rpartition("/")[2]]
    elif _chosen(_experiments(*config_folders())[base], pattern.kind) != pattern.option:
        theirs.append(f"{pattern.kind}={pattern.option}")
    return _filled("loss_test.py", MINE=[f"experiment={stem}"], PATTERN=theirs)


def _filled(template: str, **constants: Any) -> str:
    """A template with other values of its constants."""
    text = (TEMPLATES / template).read_text()
    text = text.replace("MINE, PATTERN = ", "MINE = x\nPATTERN = ")
    for name, value in constants.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {json.dumps(value)}", text, flags=re.MULTILINE)
    return text


# The source


def _file(module: str) -> Path:
    """The file of a module. No module is imported.

    Raises:
        UserError: it is not found.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    places = [Path(place) for place in (spec.submodule_search_locations or []) if spec] if spec else []
    if spec and not rest and spec.origin:
        return Path(spec.origin)
    for place in places:
        for file in (place.joinpath(*rest).with_suffix(".py"), place.joinpath(*rest, "__init__.py")):
            if rest and file.is_file():
                return file
    raise UserError(f"the source of {module} is not found: start in its folder, or pass --config-dir")


def _source(pattern: Pattern, name: str) -> str:
    """The class under its new name, with the functions and constants of its module that it uses."""
    text = _file(pattern.module).read_text()
    tree, lines = ast.parse(text), text.splitlines(keepends=True)
    named = {name: node for node in tree.body for name in _names(node)}
    if not isinstance(named.get(pattern.name), ast.ClassDef):
        raise UserError(f"{pattern.target} is not written out in its module: choose another pattern")
    copied, used = _needed(named, pattern.name)
    imports = [_kept(node, used, lines) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.If)]
    beside = sorted(
        one
        for one in used
        if isinstance(named.get(one), ast.ClassDef) and one != pattern.name and named[one] not in copied
    )
    if beside:
        imports.append(_import(pattern.module, beside))
    ours = sorted({line for line in imports if line.startswith("from frame.")}, key=str.lower)
    others = [line for line in imports if line and not line.startswith("from frame.") and not line.startswith("if ")]
    late = [line for line in imports if line.startswith("if ")]
    own = [line for line in others if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    blocks = ["".join(own), "".join(line for line in others if line not in own), "".join(ours), "".join(late)]
    body = [_renamed(_segment(node, lines), pattern.name, name) for node in tree.body if node in copied]
    parts = [_docstring(tree, pattern), *filter(None, blocks)]
    return "\n".join(parts) + _joined(body, [node for node in tree.body if node in copied])


def _joined(body: Sequence[str], nodes: Sequence[ast.stmt]) -> str:
    """Constants stand together; classes and functions have two empty lines around them."""
    text, before = "", None
    for part, node in zip(body, nodes, strict=True):
        constants = isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(before, ast.Assign | ast.AnnAssign)
        first_constant = isinstance(node, ast.Assign | ast.AnnAssign) and before is None
        text += part if constants else f"\n{part}" if first_constant else f"\n\n{part}"
        before = node
    return text


def _names(node: ast.stmt) -> list[str]:
    """What a statement of a module defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _needed(named: dict[str, ast.stmt], name: str) -> tuple[list[ast.stmt], set[str]]:
    """The statements to copy, and all names that they use."""
    copied: list[ast.stmt] = []
    used: set[str] = set()
    waiting = [named[name]]
    while waiting:
        node = waiting.pop()
        if node in copied:
            continue
        copied.append(node)
        uses = _uses(node)
        used |= uses
        waiting += [named[one] for one in sorted(uses & named.keys()) if not isinstance(named[one], ast.ClassDef)]
    return copied, used


def _uses(node: ast.AST) -> set[str]:
    """The names that code uses, those in annotations that are texts included."""
    found = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    for one in ast.walk(node):
        annotations = [getattr(one, key, None) for key in ("annotation", "returns")]
        for part in [inner for each in annotations if isinstance(each, ast.AST) for inner in ast.walk(each)]:
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                found |= {*re.findall(r"\w+", part.value)}
    return found


def _kept(node: ast.stmt, used: set[str], lines: Sequence[str]) -> str:
    """An import of the names that are used; a block `if TYPE_CHECKING` whole, if one of its names is."""
    if isinstance(node, ast.If):
        inside = [one for one in ast.walk(node) if isinstance(one, ast.ImportFrom)]
        return _segment(node, lines) if any(alias.name in used for one in inside for alias in one.names) else ""
    assert isinstance(node, ast.Import | ast.ImportFrom)
    kept = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
    if not kept:
        return ""
    words = [f"{alias.name} as {alias.asname}" if alias.asname else alias.name for alias in kept]
    if isinstance(node, ast.ImportFrom):
        return _import(str(node.module), words)
    return "".join(f"import {word}\n" for word in words)


def _import(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= WIDTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"


def _segment(node: ast.stmt, lines: Sequence[str]) -> str:
    """The lines of a statement, with its decorators and the comments above it."""
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))]) - 1
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return "".join(lines[first : node.end_lineno])


def _docstring(tree: ast.Module, pattern: Pattern) -> str:
    found = (ast.get_docstring(tree, clean=False) or f"Like {pattern.option}.").rstrip()
    raw = "r" if "\\" in found else ""
    return f'{raw}"""{found}\n\nIt starts as {pattern.option}: say here what differs.\n"""\n'


def _renamed(text: str, old: str, new: str) -> str:
    """The source with a name replaced where it is code, and not in texts and comments."""
    lines = text.splitlines(keepends=True)
    before = ""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string == old and before != ".":  # no attribute of this name
            found.append(token)
        before = token.string
    for token in reversed(found):
        row, at = token.start
        line = lines[row - 1]
        lines[row - 1] = line[:at] + new + line[at + len(old) :]
    return "".join(lines)
