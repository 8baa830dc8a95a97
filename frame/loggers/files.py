"""The run's own record: metrics.csv, pictures and tables in plain files, whatever else is switched on."""

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from frame.files import write_whole
from frame.inside import name_of
from frame.loggers.base import RunLogger, pixels

COUNTERS = ("iteration", "seconds", "epochs")  # the first columns, in this order


class FilesLogger(RunLogger):
    """Writes below the run's folder:

    - `metrics.csv`: iteration, seconds, epochs, then a column a metric, named as it was logged; a row an iteration
      (a second row only where the same name has two values). `pandas.read_csv` reads it as it is;
    - `images/<name>/<iteration>.png`, figures with a PDF beside;
    - `tables/<name>/<iteration>.csv`.

    A slash in a name becomes an underscore in paths. An `OSError`, such as a full disk, is said in one line on stderr
    and never raised: rows wait in memory until they can be written, pictures and tables of that time are left out.

    A row is never half there for a reader that comes after a kill: it is written by one system call, and what a kill
    leaves without its newline is dropped when the file is opened again.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.path = self.folder / "metrics.csv"
        self._columns = list(COUNTERS)
        self._last: dict[str, str] = {}  # the cells of the file's last row, and where it begins
        self._offset = 0
        self._waiting: list[dict[str, str]] = []  # rows that could not be written yet
        self._opened = False

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    def root_dir(self) -> str:
        return str(self.folder)

    # -- metrics.csv

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        iteration = step if step is not None else int(self._last.get("iteration", 0))
        row = {"iteration": str(iteration)} | {name: repr(float(value)) for name, value in metrics.items()}
        self._waiting.append(row)
        self._flush()

    def save(self) -> None:
        """Tries again to write what is waiting."""
        self._flush()

    def cut(self, iteration: int) -> None:
        """Drops rows, pictures and tables later than `iteration`, each file in one step."""
        self._waiting = [row for row in self._waiting if int(row["iteration"]) <= iteration]
        with self._kept():
            if self.path.exists():
                self._open()
                self._rewrite(self._columns, lambda line: line if int(line.split(",", 1)[0]) <= iteration else "")
                self._open()
            for file in [*self.folder.glob("images/*/*"), *self.folder.glob("tables/*/*")]:
                half = file.name.startswith(".")  # what a kill left behind
                if half or (file.stem.isdigit() and int(file.stem) > iteration):
                    file.unlink()

    def _flush(self) -> None:
        with self._kept():
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.pop(0)

    def _write(self, row: dict[str, str]) -> None:
        if not self._opened:
            self._open()
        new = [name for name in row if name not in self._columns]
        if new:
            # rows hold numbers only, so that a column more is a comma more
            self._rewrite([*self._columns, *new], lambda line: line + "," * len(new))
            self._open()
        line = dict(row)
        if self._fits(row):
            line |= {name: cell for name, cell in self._last.items() if cell}  # the first clock of an iteration stays
        else:
            self._offset = os.path.getsize(self.path)
        text = ",".join(line.get(name, "") for name in self._columns) + "\n"
        # a merged row is never shorter than the one that it is written over
        self._put(text.encode())
        self._last = line

    def _fits(self, row: dict[str, str]) -> bool:
        """Whether `row` can join the last one: the same iteration, and no name with another value."""
        if self._last.get("iteration") != row["iteration"]:
            return False
        names = [name for name in row if name not in COUNTERS]
        return all(self._last.get(name, "") in ("", row[name]) for name in names)

    def _put(self, data: bytes) -> None:
        with open(self.path, "r+b", buffering=0) as file:
            file.seek(self._offset)
            old = file.read()
            file.seek(self._offset)
            try:
                if file.write(data) != len(data):
                    raise OSError("only a part of the row could be written")
            except OSError:
                # what got through would spoil the rows that follow
                file.seek(self._offset)
                file.write(old)
                file.truncate()
                raise

    def _open(self) -> None:
        """Finds the columns and the last row of the file that is there; begins one where there is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self._rewrite(self._columns, lambda line: line)
        with open(self.path, "rb") as file:
            header = self._columns = next(csv.reader([file.readline().decode()]))
            self._last, self._offset, start = {}, file.tell(), file.tell()
            last = b""
            for line in file:
                if not line.endswith(b"\n"):
                    break
                last, self._offset, start = line, start, start + len(line)
        if start < os.path.getsize(self.path):
            os.truncate(self.path, start)
        if last:
            self._last = dict(zip(header, last.decode().rstrip("\n").split(","), strict=False))
        self._opened = True

    def _rewrite(self, columns: Iterable[str], change: Callable[[str], str]) -> None:
        """The file anew with the header `columns`: each whole row goes through `change`, '' drops it."""

        def fill(file: IO[bytes]) -> None:
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(columns)
            file.write(header.getvalue().encode())
            if self.path.exists():
                with open(self.path, encoding="utf-8") as old:
                    old.readline()
                    for line in old:
                        changed = change(line[:-1]) if line.endswith("\n") else ""
                        if changed:
                            file.write(f"{changed}\n".encode())

        write_whole(self.path, fill)

    # -- pictures and tables

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        with self._kept():
            path = self._file("images", name, step, "png")
            write_whole(path, lambda file: Image.fromarray(image).save(file, format="png"))

    def log_figure(self, name: str, figure: Figure, step: int) -> None:
        self.log_image(name, pixels(figure), step)
        with self._kept():
            path = self._file("images", name, step, "pdf")
            write_whole(path, lambda file: figure.savefig(file, format="pdf"))

    def log_table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        with self._kept():
            path = self._file("tables", name, step, "csv")
            write_whole(path, lambda file: file.write(text.getvalue().encode()))

    def _file(self, kind: str, name: str, step: int, suffix: str) -> Path:
        folder = self.folder / kind / name_of(name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{step:08d}.{suffix}"

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._opened = False  # the file may have gone: look again before the next row
            self.warn(f"{self.folder}: {error}; the run goes on, and its numbers are written when this works again")
