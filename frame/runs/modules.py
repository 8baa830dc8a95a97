"""Imports a user's own modules from bytes that were checked: of a run's own source, or as their files are now.

Several versions of a module can serve in one process. `importing` puts those of one source into `sys.modules`, and
puts back what was there before.
"""

import builtins
import hashlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from frame.common.errors import UserError
from frame.common.owned import is_own


@dataclass(frozen=True)
class File:
    """A module's bytes, the path that it has as `__file__`, and the one that tracebacks show."""

    content: bytes
    path: str
    shown: str


@dataclass(frozen=True)
class Source:
    """Modules by name.

    Args:
        files: the modules.
        root: a folder in which other modules are searched, after all that is installed; None: none are.
        stays: whether the modules stay in `sys.modules`, unless others of these names are there: they are as they lie
            on disk now, so that any import in this process should give the same.
    """

    files: Mapping[str, File]
    root: Path | None = None
    stays: bool = False

    @cached_property
    def tops(self) -> frozenset[str]:
        return frozenset(name.partition(".")[0] for name in self.files)

    @cached_property
    def digest(self) -> str:
        found = hashlib.sha256()
        for name, file in sorted(self.files.items()):
            found.update(f"{name}\0{file.path}\0{hashlib.sha256(file.content).hexdigest()}\n".encode())
        return found.hexdigest()[:16]

    def check_free(self) -> None:
        """Raises UserError if an installed package has the name of one of the modules."""
        for top in sorted(self.tops):
            spec = importlib.machinery.PathFinder.find_spec(top)
            origin = spec.origin if spec is not None else None
            if top in sys.builtin_module_names or top in sys.stdlib_module_names or origin and not is_own(origin):
                raise UserError(
                    f"'{top}' is a module of the run's own, and an installed package has that name: not used"
                )


_loaded: dict[str, dict[str, ModuleType]] = {}  # modules that were imported, by their source's digest
_active: list[Source] = []


@contextmanager
def importing(source: Source | None) -> Iterator[None]:
    """Imports find the modules of a source. Nothing happens for None.

    Modules that are imported already are taken, if they are the same.
    """
    if source is None or not source.files and source.root is None or _active and _active[-1] is source:
        yield
        return
    before = _of(source)
    mine = _loaded.setdefault(source.digest, {})
    same = all(module is mine.get(name) or _is(module, source.files.get(name)) for name, module in before.items())
    if not same:
        _remove(before)
    sys.modules.update({name: module for name, module in mine.items() if not same or name not in before})
    finder, rest = _Checked(source), _Rest(source)
    sys.meta_path.insert(0, finder)
    sys.meta_path.append(rest)
    _active.append(source)
    try:
        yield
    finally:
        _active.pop()
        sys.meta_path.remove(finder)
        sys.meta_path.remove(rest)
        now = _of(source)
        mine.update(now)
        if not same or not source.stays:
            _remove(now)
            sys.modules.update(before)


def _of(source: Source) -> dict[str, ModuleType]:
    tops = source.tops - {"frame"}  # a new file in a clone of frame is exported, too
    return {n: module for n, module in sys.modules.items() if n.partition(".")[0] in tops or n in source.files}


def _remove(modules: Mapping[str, ModuleType]) -> None:
    for name in modules:
        sys.modules.pop(name, None)


def _is(module: ModuleType, file: File | None) -> bool:
    """Whether an imported module is this file, by its bytes. Modules that are no part of the source count as such."""
    place = getattr(module, "__file__", None)
    if file is None or place is None:
        return file is None
    try:
        return Path(place).read_bytes() == file.content
    except OSError:
        return False


class _Checked(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules of a source, and the folders without `__init__.py` around them."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        file = self.source.files.get(name)
        if file is not None:
            package = Path(file.path).name == "__init__.py"
            spec = importlib.machinery.ModuleSpec(name, self, origin=file.path, is_package=package)
            spec.has_location = True
            if package and self.source.root is not None:
                spec.submodule_search_locations = [str(Path(file.path).parent)]
            return spec
        if name not in sys.modules and any(other.startswith(f"{name}.") for other in self.source.files):
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            if self.source.root is not None:
                spec.submodule_search_locations = [str(self.source.root.joinpath(*name.split(".")))]
            return spec
        return None

    def exec_module(self, module: ModuleType) -> None:
        file = self.source.files[module.__name__]
        # an import in a function, which is called later, finds the same source
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _importer(self.source)}
        exec(compile(file.content, file.shown, "exec", dont_inherit=True), module.__dict__)


class _Rest(importlib.abc.MetaPathFinder):
    """Finds modules that lie beside those of a source, such as those that are imported by a computed name."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if path is not None or self.source.root is None:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [str(self.source.root)])


def _importer(source: Source) -> Callable[..., Any]:
    original = builtins.__import__

    def __import__(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        top = name.partition(".")[0]
        if level == 0 and top in sys.modules and top not in source.tops:
            return original(name, globals, locals, fromlist, level)
        with importing(source):
            return original(name, globals, locals, fromlist, level)

    return __import__
