"""What was evaluated in a run's folder: notes by which a complete run is recognised without opening it."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

FILE = "evaluated.jsonl"  # a line for each evaluation that was completed, and for each checkpoint that was opened


class Notes:
    """The notes of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """What was noted, the oldest first."""
        file = self.folder / FILE
        found = []
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                continue  # a line that a kill cut short
        return found

    def add(self, **line: Any) -> None:
        with (self.folder / FILE).open("a") as stream:
            stream.write(json.dumps(line) + "\n")
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
            found = [(self.folder / name).stat() for name in ("config.yaml", f"checkpoints/{checkpoint}.ckpt")]
        except OSError:
            return None
        return [number for stat in found for number in (stat.st_size, stat.st_mtime_ns)]


def key_of(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]
