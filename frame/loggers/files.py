"""The run's own files: metrics, pictures and tables, which every run writes."""

import csv
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from frame.common.escaping import cell
from frame.common.files import write_whole
from frame.common.inside import name_of
from frame.loggers import kept
from frame.loggers.base import RunLogger, pixels
from frame.runs import metrics
from frame.runs.journal import DIAGNOSES, PATIENCE, RECORDS, Journal
from frame.runs.metrics import COUNTERS, adopt_table, is_line, line_of

BURST, SHARE = 1.0, 0.01  # seconds, and the share of the time, that making the table may take


class FilesLogger(RunLogger):
    """Writes below the run's folder:

    - `metrics.jsonl`: one line per call, whole or absent, even if other processes also append;
    - `metrics.csv`, made from it: iteration, seconds, epochs, then one column per metric, named as it was logged, and
      one row per iteration (a second row only if a name has two values). `pandas.read_csv` reads it;
    - `images/<name>/<iteration>.png`, and a PDF of figures;
    - `tables/<name>/<iteration>.csv`.

    A slash in a name becomes an underscore in paths. An `OSError`, such as a full disk, is never raised: one line on
    stderr reports it. Lines wait in memory until they can be written; pictures and tables are lost.

    The table is updated after each call as long as that takes at most a hundredth of the time, and always by `save`.

    Args:
        folder: the run's.
        checkpoint: the name of the checkpoint that is evaluated, which lines then hold; '' while the run trains.
        table: whether metrics.csv is updated; False if the training process does this.
        keep: number of pictures and tables of each name that are kept, evenly spread from first to last; None: all.
            Those of an evaluated checkpoint are all kept.
    """

    def __init__(
        self, folder: str | Path, checkpoint: str = "", table: bool = True, keep: int | None = kept.KEEP
    ) -> None:
        super().__init__()
        self.keep = keep
        self._drawn = kept.Drawn(Path(folder))
        self.folder = Path(folder)
        self.checkpoint = checkpoint
        self.failures = 0  # number of failed writes
        self._journal = Journal(self.folder / metrics.FILE)
        self._table = metrics.Table(self._journal) if table else None
        self._patience = PATIENCE if checkpoint else 0.1  # training does not wait for others
        self._began, self._spent = time.monotonic(), 0.0  # seconds; the time spent on the table
        self._iteration = 0  # of the last logged values

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    def root_dir(self) -> str:
        return str(self.folder)

    # -- metrics

    @property
    def waiting(self) -> bool:
        """Whether lines could not be written yet."""
        return bool(self._journal.waiting)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._iteration = iteration = self._iteration if step is None else int(step)
        found = {name: float(value) for name, value in metrics.items()}
        counters = {name: found.pop(name) for name in COUNTERS[1:] if name in found}
        if found.pop("iteration", iteration) != iteration:
            self.warn(f"a metric called 'iteration' is left out at iteration {iteration}: this is the name of a column")
        with self._kept():
            self.folder.mkdir(parents=True, exist_ok=True)
            adopt_table(self.folder)
            self._journal.keep(line_of(iteration, counters, found, self.checkpoint))
        self._tabulate()

    def save(self) -> None:
        """Writes lines that wait, and syncs everything logged and measured so far to disk."""
        with self._kept():
            self._journal.sync()
            for name in (RECORDS, DIAGNOSES):
                Journal(self.folder / name).sync()
        self._tabulate(now=True)

    def finalize(self, status: str) -> None:
        self.save()

    def cut(self, iteration: int) -> None:
        """Removes rows, pictures and tables that training wrote after `iteration`, each file in one step."""
        with self._kept():
            self._journal.cut(lambda line: is_line(line) and (line["iteration"] <= iteration or "checkpoint" in line))
            self._drawn.cut(iteration)
            for kind, name, file in kept.files(self.folder):
                if file.stem.isdigit():
                    gone = not self._drawn.stays(kind, name, int(file.stem), iteration, self.keep)
                else:
                    gone = file.name.startswith(".")  # temporary files of a killed process
                if gone:
                    file.unlink()
        self._tabulate(now=True)

    def _tabulate(self, now: bool = False) -> None:
        began = time.monotonic()
        due = self._spent <= BURST + SHARE * (began - self._began)
        if self._table is None or not (now or due) or not self._journal.path.exists():
            return
        with self._kept():
            self._table.update(self._patience)
        self._spent += time.monotonic() - began

    # -- pictures and tables

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        with self._kept():
            path = self._file("images", name, step, "png")
            write_whole(path, lambda file: Image.fromarray(image).save(file, format="png"))
            self._thin(path, step)

    def log_figure(self, name: str, figure: Figure, step: int) -> None:
        self.log_image(name, pixels(figure), step)
        with self._kept():
            path = self._file("images", name, step, "pdf")
            write_whole(path, lambda file: figure.savefig(file, format="pdf"))

    def log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*map(cell, line)] for line in [columns, *rows])
        with self._kept():
            path = self._file("tables", name, step, "csv")
            write_whole(path, lambda file: file.write(text.getvalue().encode()))
            self._thin(path, step)

    def _thin(self, path: Path, step: int) -> None:
        """Notes a new picture, and removes pictures that are no longer kept."""
        for gone in self._drawn.add(path.parent.parent.name, path.parent.name, step, self.keep, self.checkpoint):
            for suffix in ("png", "pdf", "csv"):
                path.with_name(f"{gone:08d}.{suffix}").unlink(missing_ok=True)

    def _file(self, kind: str, name: str, step: int, suffix: str) -> Path:
        folder = self.folder / kind / name_of(name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{step:08d}.{suffix}"

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failures += 1
            self.warn(f"{self.folder}: {error}; the run goes on, and its numbers are written when this works again")
