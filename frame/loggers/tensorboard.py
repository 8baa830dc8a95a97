"""Shows a run in TensorBoard: `tensorboard --logdir <the runs' folder>`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from frame.loggers.base import RunLogger


class TensorBoardLogger(RunLogger):
    """Event files below `<folder>/tensorboard`.

    The composed config is shown as text, and `params` and `seed` as columns of the HParams tab. No metrics are declared
    there, because TensorBoard then offers every scalar of the run, without placeholders.
    """

    def __init__(self, folder: str | Path, config: dict[str, Any]) -> None:
        super().__init__()
        self.folder = Path(folder) / "tensorboard"
        self.config = config
        self._writer: SummaryWriter | None = None
        self._purge_step: int | None = None

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    def writer(self) -> SummaryWriter:
        """Opened at the first write, so that a resumed run's first event can name the events to discard."""
        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder), purge_step=self._purge_step, flush_secs=5)
            self._purge_step = None
            self._writer.add_text("config", f"```yaml\n{yaml.safe_dump(self.config, sort_keys=False)}```", 0)
            chosen: dict[str, Any] = {key: self.config[key] for key in ("params", "seed") if key in self.config}
            _, start, _ = hparams(dict(_flat(chosen)), {})
            self._writer._get_file_writer().add_summary(start)
        return self._writer

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.forgiving():
            for name, value in metrics.items():
                self.writer.add_scalar(name, value, step)

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        if not self.takes("image " + name):
            return
        with self.forgiving():
            self.writer.add_image(name, image, step, dataformats="HWC")

    def log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        if not self.takes("table " + name):
            return
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
        with self.forgiving():
            self.writer.add_text(name, text, step)

    def cut(self, iteration: int) -> None:
        """TensorBoard discards events after `iteration` when it reads the first event of the next file."""
        with self.forgiving():
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self._purge_step = iteration + 1

    def save(self) -> None:
        """Writes all logged values to disk."""
        if self._writer is not None:
            with self.forgiving():
                self._writer.flush()

    def finalize(self, status: str) -> None:
        if self._writer is not None:
            with self.forgiving():
                self._writer.close()
        self._writer = None


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """('params.beta', 0.5) for each leaf, named as on the command line; other types become text."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, bool | int | float | str) else str(value)
