"""A folder that `frame export` wrote: its hashes, weights and exported source."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from frame.common.errors import UserError
from frame.runs.modules import File, Source

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

    def source(self) -> Source:
        """The exported modules, from checked bytes.

        Raises:
            UserError: a file was changed.
        """
        places = {name: str(self.path / file) for name, file in self.manifest["modules"].items()}
        files = {
            name: File(self.read(file), places[name], places[name]) for name, file in self.manifest["modules"].items()
        }
        return Source(files, stays=True)
