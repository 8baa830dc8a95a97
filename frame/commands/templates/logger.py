"""Writes numbers as one JSON object per line; to be changed into a logger of your own."""

import json
from pathlib import Path
from typing import Any

from frame.loggers.base import RunLogger


class Mine(RunLogger):
    """Appends each row of metrics to Mine.jsonl in the run's folder.

    Args:
        folder: the run's, which frame gives.
        config: the composed config, which frame gives.
        label: written in each line.
    """

    def __init__(self, folder: str | Path, config: dict[str, Any], label: str = "") -> None:
        super().__init__()
        self.file, self.label = Path(folder) / "Mine.jsonl", label

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.forgiving(), self.file.open("a") as stream:  # an error here must not end the run
            stream.write(json.dumps({"label": self.label, "iteration": step, **metrics}) + "\n")

    def cut(self, iteration: int) -> None:
        """Removes lines after `iteration`, before a run is resumed from there."""
        with self.forgiving():
            if self.file.exists():
                lines = self.file.read_text().splitlines(keepends=True)
                self.file.write_text("".join(line for line in lines if json.loads(line)["iteration"] <= iteration))
