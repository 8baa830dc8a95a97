"""The user's own source files that a config needs, found without running any of them."""

import ast
import importlib.machinery
import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import frame
from frame.common.errors import UserError
from frame.composition.checks import targets

PACKAGE = Path(frame.__file__).resolve().parent
INSTALLED = {Path(sysconfig.get_paths()[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}


def own_modules(config: dict[str, Any]) -> dict[str, Path]:
    """The modules of the config's `_target_`s, and those that they import, with files; not of installed packages.

    Imports by a name that is computed at run time, and files that are read as data, are not found.

    Raises:
        UserError: a module is not on the path.
    """
    found: dict[str, Path] = {}
    for path, node in targets(config):
        name = str(node["_target_"])
        module = _module_of(name)
        if module is None:
            top = name.split(".")[0]
            raise UserError(
                f"{path} names {name}, and there is no module '{top}' here: start in its folder, or pass --config-dir"
            )
        _add(module, found)
    return dict(sorted(found.items()))


def packages_of(config: dict[str, Any]) -> list[str]:
    """The top-level packages that the `_target_`s name, except frame and torch."""
    names = {str(node["_target_"]).split(".")[0] for _, node in targets(config)}
    return sorted(names - {"frame", "torch"})


def _module_of(target: str) -> str | None:
    """The longest prefix of a dotted name that is a module."""
    parts = target.split(".")
    return next((m for cut in range(len(parts), 0, -1) if _spec((m := ".".join(parts[:cut]))) is not None), None)


def _add(module: str, found: dict[str, Path]) -> None:
    spec = _spec(module)
    file = None if spec is None else _own_file(spec)
    if module in found or file is None:
        return
    found[module] = file
    for parent in _parents(module):
        _add(parent, found)
    is_package = file.name == "__init__.py"
    for imported in _imported(file, module, is_package):
        _add(imported, found)


def _parents(module: str) -> Sequence[str]:
    parts = module.split(".")
    return [".".join(parts[:cut]) for cut in range(1, len(parts))]


def _imported(file: Path, module: str, is_package: bool) -> Iterator[str]:
    """All names that a file imports, anywhere in it, and that may be modules."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + is_package]
                origin = ".".join([*above, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


@cache
def _spec(module: str) -> importlib.machinery.ModuleSpec | None:
    """Finds a module's file. Unlike importlib's search, this imports no parent."""
    top, *below = module.split(".")
    try:
        # the working folder is not on the path, but an export takes sources from it, without importing them
        spec = (importlib.util.find_spec(top) or importlib.machinery.PathFinder.find_spec(top, [""])) if top else None
    except (ValueError, ImportError):  # a module such as __main__
        return None
    name = top
    for part in below:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name += f".{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec


def _own_file(spec: importlib.machinery.ModuleSpec) -> Path | None:
    """The file of a module that no package manager installed; None for other modules."""
    if spec.origin is None or not spec.origin.endswith(".py") or spec.name.split(".")[0] in sys.stdlib_module_names:
        return None
    file = Path(spec.origin).resolve()
    if file.is_relative_to(PACKAGE):
        return file if file in _untracked() else None
    if {"site-packages", "dist-packages"} & set(file.parts):
        return None
    # site-packages, which lies in the standard library's folder, was treated above
    return None if any(file.is_relative_to(folder) for folder in INSTALLED) else file


@cache
def _untracked() -> frozenset[Path]:
    """Files of the package that are not in a commit, such as new ones in a clone."""
    words = ["git", "ls-files", "--others", "--exclude-standard", "--", str(PACKAGE)]
    try:
        done = subprocess.run(words, cwd=PACKAGE, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset((PACKAGE / line).resolve() for line in done.stdout.splitlines() if done.returncode == 0)


def place_of(module: str, file: Path) -> str:
    """A module's path below source/."""
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if file.name == "__init__.py" else f"{path}.py"
