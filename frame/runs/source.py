"""The user's own source files that a config needs, found without running any of them, and kept in a run's folder."""

import ast
import hashlib
import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from frame.common.confidential import holds_a_key, is_secret
from frame.common.errors import UserError
from frame.common.files import write_whole
from frame.common.owned import PACKAGE, is_own
from frame.composition.checks import targets

FOLDER = "source"  # in a run's folder
FILE_BYTES, ALL_BYTES = 1_000_000, 16_000_000  # larger files, and more of them, are not kept


def own_modules(config: Mapping[str, Any], *, strict: bool = True) -> dict[str, Path]:
    """The modules of the config's `_target_`s, and those that they import, with files; not of installed packages.

    Imports by a name that is computed at run time, and files that are read as data, are not found.

    Args:
        config: plain values.
        strict: whether each module must be on the path; otherwise one that is not is left out.

    Raises:
        UserError: a module is not on the path.
    """
    found: dict[str, Path] = {}
    _spec.cache_clear()  # files may have come since
    for path, node in targets(config):
        name = str(node["_target_"])
        module = _module_of(name)
        if module is not None:
            _add(module, found)
        elif strict:
            top = name.split(".")[0]
            raise UserError(
                f"{path} names {name}, and there is no module '{top}' here: start in its folder, or pass --config-dir"
            )
    return dict(sorted(found.items()))


def kept(run: Path, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Copies the user's own modules that a config needs into a run's folder, in place of those of before.

    Returns:
        for each module its hash, its place below the run's folder ('file'), or why it is not there ('left_out'), and
        the path from which it was imported.
    """
    told: dict[str, dict[str, Any]] = {}
    total = 0
    for module, path in own_modules(config, strict=False).items():
        content = path.read_bytes()
        told[module] = {"sha256": hashlib.sha256(content).hexdigest(), "path": str(path)}
        why = _unfit(path, content)
        if not why and total + len(content) > ALL_BYTES:
            why = "too much source"
        if why:
            told[module]["left_out"] = why
            continue
        total += len(content)
        told[module]["file"] = f"{FOLDER}/{place_of(module, path)}"
        target = run / told[module]["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, content)
    return told


def _write(target: Path, content: bytes) -> None:
    write_whole(target, lambda stream: stream.write(content))


def _unfit(path: Path, content: bytes) -> str:
    """Why a file is not kept in a run's folder, or ''."""
    if is_secret(path.name) or holds_a_key(content):
        return "may hold secrets"
    return f"{len(content) / 1e6:.1f} MB" if len(content) > FILE_BYTES else ""


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
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # an import that is guarded, such as for another version of Python
        return
    for node in ast.walk(tree):
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


def file_of(module: str) -> Path | None:
    """The file of a module of the user's own; None if it is installed, or not found."""
    _spec.cache_clear()
    spec = _spec(module)
    return None if spec is None else _own_file(spec)


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
    return file if is_own(str(file)) else None


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
