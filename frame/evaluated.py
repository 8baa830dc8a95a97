"""What was evaluated in a run's folder: notes by which a complete run is recognised without opening it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from frame import checkpoints
from frame.journal import Journal

FILE = "evaluated.jsonl"  # a line for each evaluation that was completed, and for each checkpoint that was opened


class Notes:
    """The notes of one run, as they stood when they were last read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / FILE)
        self.lines = self.journal.read(_fits)

    def refresh(self) -> None:
        """Reads again what others have noted meanwhile."""
        self.lines = self.journal.read(_fits)

    def add(self, **line: Any) -> None:
        """Notes what is on disk already.

        Raises:
            OSError: as `Journal.append`.
        """
        self.journal.append(line, sync=True)
        self.lines.append(line)

    @property
    def done(self) -> set[str]:
        """Keys of what was completed."""
        return {line["key"] for line in self.lines if "key" in line and "name" in line}

    def opened(self, checkpoint: str) -> tuple[int, str] | None:
        """Iteration of a checkpoint that was opened, and the weights that the config names; None if files changed."""
        files = self.stamp(checkpoint)
        for line in reversed(self.lines):
            if files is not None and line.get("files") == files and line.get("checkpoint") == checkpoint:
                return int(line["iteration"]), str(line["weights"])
        return None

    def note_opened(self, checkpoint: str, iteration: int, weights: str) -> None:
        files = self.stamp(checkpoint)
        if files is not None and self.opened(checkpoint) is None:
            self.add(files=files, checkpoint=checkpoint, iteration=iteration, weights=weights)

    def stamp(self, checkpoint: str) -> list[int] | None:
        """Sizes and times of config and checkpoint; None where there is no such file, as in an export."""
        try:
            files = [file for file in checkpoints.files(self.folder, checkpoint) if file.exists()]
            found = [file.stat() for file in (self.folder / "config.yaml", files[0])]
        except (OSError, IndexError):
            return None
        return [number for stat in found for number in (stat.st_size, stat.st_mtime_ns)]


def key_of(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _fits(line: dict[str, Any]) -> bool:
    """Whether it notes an evaluation or an opened checkpoint."""
    if "key" in line:
        return isinstance(line["key"], str) and isinstance(line.get("name"), str)
    return isinstance(line.get("iteration"), int) and isinstance(line.get("weights"), str)
