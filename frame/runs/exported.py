"""A folder that `frame export` wrote: its hashes, weights and exported source."""

import hashlib
import importlib.abc
import importlib.machinery
import json
import sys
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from frame.common.errors import UserError

FORMAT = 1
MANIFEST = "export.json"
WEIGHTS = "model.safetensors"


class Export:
    """An export, whose files are checked against its hashes. The hashes do not say who exported it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def at(cls, path: Path) -> "Export | None":
        """The export in a folder; None if the folder is none.

        Raises:
            UserError: it was written by another version.
        """
        if not (path / MANIFEST).is_file():
            return None
        export = cls(path)
        found = export.manifest.get("format")
        if type(found) is not int or found != FORMAT:
            newer = type(found) is int and found > FORMAT
            what = "is an export of a newer version of frame: it" if newer else "is an export that"
            raise UserError(
                f"{path} {what} has format {found!r}, and this version reads format {FORMAT}: "
                f"open it with frame {export.manifest.get('frame', 'of the version that wrote it')}"
            )
        return export

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """export.json: format, checkpoint, weights, counters, modules, and each file's sha256.

        Raises:
            UserError: it cannot be read.
        """
        try:
            found = json.loads((self.path / MANIFEST).read_text())
            return {**found, "files": dict(found["files"]), "modules": dict(found["modules"])}
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self.path / MANIFEST} is not what `frame export` writes: export the run again") from None

    def verify(self) -> None:
        """Raises UserError if a file is missing or was changed, or if source/ has a file that was not exported."""
        for name in self.manifest["files"]:
            self.read(name)
        beside = {str(file.relative_to(self.path)) for file in (self.path / "source").rglob("*.py")}
        for name in sorted(beside - set(self.manifest["files"])):
            raise UserError(f"{self.path / name} was not exported: remove it, or get the export again")

    def read(self, name: str) -> bytes:
        """A file's bytes, checked.

        Raises:
            UserError: they are not those that were exported.
        """
        file = self.path / name
        if not file.resolve().is_relative_to(self.path.resolve()):
            raise UserError(f"{self.path / MANIFEST} names {name}, which lies outside of it")
        if not file.is_file():
            raise UserError(f"{file} is missing: get the export again")
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.manifest["files"].get(name):
            raise UserError(f"{file} is not what was exported (its sha256 differs): get the export again")
        return content

    def check(self, checkpoint: str, weights: str | None) -> tuple[str, str]:
        """Checks the checkpoint and weights that are asked for; an export holds one of each.

        Raises:
            UserError: others are asked for.
        """
        held, kept = str(self.manifest["checkpoint"]), str(self.manifest["weights"])
        if checkpoint not in ("last", held):  # 'last' is the default
            raise UserError(
                f"{self.path} holds the {held} checkpoint only: export the run with checkpoint={checkpoint}"
            )
        if weights not in (None, kept):
            raise UserError(f"{self.path} holds the {kept} weights only: export the run with weights={weights}")
        return held, kept

    def state(self) -> dict[str, Any]:
        """The exported part of a checkpoint: the weights and the counters."""
        from safetensors.torch import load_file

        weights = load_file(self.path / WEIGHTS)
        return {"model": weights, "average": None, "counters": self.manifest["counters"]}

    def trust(self) -> tuple[str, ...]:
        """Makes the exported modules importable, from checked bytes, and returns their names.

        Raises:
            UserError: a file was changed, or another module of the same name is already imported.
        """
        sources = {name: (self.path / file, self.read(file)) for name, file in self.manifest["modules"].items()}
        for name, (_, content) in sources.items():
            there = getattr(sys.modules.get(name), "__file__", None)
            if name in sys.modules and (there is None or Path(there).read_bytes() != content):
                raise UserError(
                    f"another module '{name}' is imported already: open {self.path} in a process of its own"
                )
        known = any(isinstance(finder, CheckedSource) and finder.sources == sources for finder in sys.meta_path)
        if not known and sources:
            sys.meta_path.insert(0, CheckedSource(sources))
        return tuple(sources)


class CheckedSource(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from bytes whose hash was checked, since files and compiled copies may have changed."""

    def __init__(self, sources: dict[str, tuple[Path, bytes]]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name in self.sources:
            file, _ = self.sources[name]
            package = file.name == "__init__.py"
            spec = importlib.machinery.ModuleSpec(name, self, origin=str(file), is_package=package)
            spec.has_location = True
            return spec
        if name not in sys.modules and any(other.startswith(f"{name}.") for other in self.sources):
            return importlib.machinery.ModuleSpec(name, None, is_package=True)  # a folder without __init__.py
        return None

    def exec_module(self, module: ModuleType) -> None:
        file, content = self.sources[module.__name__]
        exec(compile(content, str(file), "exec", dont_inherit=True), module.__dict__)
