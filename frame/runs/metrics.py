"""A run's logged numbers: the lines of metrics.jsonl, and the table metrics.csv that is made from them."""

import csv
import io
import os
import tempfile
from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from frame.common.escaping import cell
from frame.common.files import write_whole
from frame.runs.journal import Journal, Line, number

FILE, TABLE = "metrics.jsonl", "metrics.csv"
COUNTERS = ("iteration", "seconds", "epochs")  # the first columns, in this order
Row = dict[str, float]


def line_of(iteration: int, counters: Row, values: Row, checkpoint: str = "") -> Line:
    """A line of metrics.jsonl; it has `checkpoint` if it was measured after training."""
    return {"iteration": iteration, **counters, "values": values, **({"checkpoint": checkpoint} if checkpoint else {})}


def is_line(line: Line) -> bool:
    """Whether it is a line of metrics. NaN and infinities, which are texts in the file, become numbers."""
    values = line.get("values")
    iteration = line.get("iteration")
    if type(iteration) is not int or not 0 <= iteration < 2**63 or not isinstance(values, dict):
        return False
    for holder, names in ((values, values), (line, COUNTERS[1:])):
        for name in names:
            value = holder.get(name)
            if type(value) is not float and (value is not None or holder is values):
                found = number(value)
                if found is None:
                    return False
                holder[name] = found
    return not any(name in COUNTERS for name in values)


class Rows:
    """Joins lines into rows of a table: one row per iteration, and another only if a name has two values.

    A line joins the row of its iteration, unless that row is older than the newest row of training. The first time of
    an iteration is kept.
    """

    def __init__(self) -> None:
        self.tail: list[Row] = []  # the newest row of training and the rows after it, which lines may still join

    def add(self, line: Line) -> list[Row]:
        """Takes the next line; returns the rows that are now complete."""
        values: Row = line["values"]
        counters = {name: line[name] for name in COUNTERS if line.get(name) is not None}
        for row in reversed(self.tail):
            if row["iteration"] == line["iteration"] and all(_same(row.get(k, v), v) for k, v in values.items()):
                for name, value in (counters | values).items():
                    row.setdefault(name, value)
                return []
        row = counters | values
        if "checkpoint" in line:
            self.tail.append(row)
            return []
        finished, self.tail = self.tail, [row]
        return finished


def _same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)


def rows(folder: Path) -> Iterator[Row]:
    """The rows of a run's table, one by one, from metrics.jsonl, or from metrics.csv if that is the only file.

    Raises:
        UserError: the file cannot be read.
    """
    journal, table = Journal(folder / FILE), Rows()
    if not journal.path.exists() and (folder / TABLE).is_file():
        yield from _rows_of_table(folder / TABLE)
        return
    for _, line in journal.since(0, is_line):
        yield from table.add(line)
    yield from table.tail


def adopt_table(folder: Path) -> None:
    """Makes metrics.jsonl from metrics.csv if that is the only file, as in an export, before more is written.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    journal = Journal(folder / FILE)
    if not journal.path.exists() and (folder / TABLE).is_file():
        lines = []
        for row in _rows_of_table(folder / TABLE):
            counters = {name: row[name] for name in COUNTERS[1:] if name in row}
            values = {name: value for name, value in row.items() if name not in COUNTERS}
            lines.append(line_of(int(row["iteration"]), counters, values))
        journal.append(*lines)


def _rows_of_table(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        for cells in csv.DictReader(stream):
            found: Any = {name: _cell(text) for name, text in cells.items() if name}
            row = {name: value for name, value in found.items() if value is not None}
            if float(row.get("iteration", "nan")).is_integer():
                yield {**row, "iteration": int(row["iteration"])}


def _cell(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def columns(folder: Path, names: Collection[str] | None = None) -> "dict[str, array[Any]]":
    """The table by columns; NaN in empty cells, and whole numbers for the iteration. Only `names`, if given.

    Raises:
        UserError: the file cannot be read.
    """
    nan = float("nan")
    found: dict[str, array[Any]] = {name: array("q" if name == "iteration" else "d") for name in COUNTERS}
    n_rows = 0
    for row in rows(folder):
        for name in row:
            if name not in found and (names is None or name in names):
                found[name] = array("d", [nan]) * n_rows
        for name, column in found.items():
            column.append(row.get(name, nan))
        n_rows += 1
    return {name: column for name, column in found.items() if names is None or name in names}


def write_table(folder: Path, path: Path) -> None:
    """Writes the run's metrics.csv to another place; writes none if nothing was logged.

    Raises:
        UserError: the run's file cannot be read.
        OSError: the disk is full or the folder cannot be written.
    """
    names = list(dict.fromkeys(name for row in rows(folder) for name in (*COUNTERS, *row)))
    if names:
        write_whole(
            path, lambda stream: stream.writelines(chain([_head(names)], (_text(row, names) for row in rows(folder))))
        )


def _head(names: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(cell, names))  # no name may become a formula
    return text.getvalue().encode()


def _text(row: Row, names: Sequence[str]) -> bytes:
    cells = (repr(float(row[name])) if name in row else "" for name in names[1:])
    return f"{row['iteration']},{','.join(cells)}\n".encode()


class Table:
    """Keeps metrics.csv up to date with metrics.jsonl. The cost of a new row does not depend on the number of rows.

    Several processes may do so, one at a time, under the journal's lock. A process that finds the file changed or
    missing makes it again.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.path = journal.path.with_name(TABLE)
        self._columns: list[str] = []
        self._rows = Rows()
        self._position = 0  # in the journal: all lines before it are in the table
        self._header = self._offset = 0  # where the rows begin, and where the rows begin that lines may still join
        self._left: tuple[Any, ...] = ()  # the files that these numbers describe

    def update(self, patience: float) -> None:
        """Brings the table up to date; waits up to `patience` seconds for another process.

        Raises:
            OSError: the disk is full or the folder cannot be written. The next call makes the table anew.
        """
        with self.journal.locked(patience):
            left, self._left = self._left, ()
            if left and left == self._stamp():
                self._go_on()
            else:
                self._anew()
            self._left = self._stamp()

    def _stamp(self) -> tuple[Any, ...]:
        try:
            table, lines = os.stat(self.path, follow_symlinks=False), os.stat(self.journal.path, follow_symlinks=False)
        except FileNotFoundError:
            return ()
        return table.st_ino, table.st_size, table.st_mtime_ns, lines.st_ino, lines.st_size >= self._position

    def _go_on(self) -> None:
        n_columns = len(self._columns)
        done = list(self._read())
        finished, tail = (
            [_text(row, self._columns) for row in done],
            [_text(row, self._columns) for row in self._rows.tail],
        )
        if len(self._columns) > n_columns:
            with self.path.open("rb") as former:
                former.seek(self._header)
                self._replace(former, self._offset - self._header, finished, tail)
        else:
            self._put(b"".join([*finished, *tail]))
            self._offset += sum(map(len, finished))

    def _anew(self) -> None:
        self._columns, self._rows, self._position = list(COUNTERS), Rows(), 0
        with tempfile.TemporaryFile(dir=self.path.parent) as body:
            for row in self._read():
                body.write(_text(row, self._columns))
            size = body.tell()
            body.seek(0)
            self._replace(body, size, [], [_text(row, self._columns) for row in self._rows.tail])

    def _read(self) -> Iterator[Row]:
        """The rows that the new lines complete."""
        known = set(self._columns)
        for position, line in self.journal.since(self._position, is_line):
            new = [name for name in line["values"] if name not in known]
            known.update(new)
            self._columns += new
            yield from self._rows.add(line)
            self._position = position

    def _replace(self, former: IO[bytes], size: int, finished: list[bytes], tail: list[bytes]) -> None:
        """Rewrites the file: the next `size` bytes of `former` with the new columns, then these rows."""

        def fill(stream: IO[bytes]) -> None:
            stream.write(_head(self._columns))
            self._header = stream.tell()
            left = size
            while left > 0:
                row = former.readline()
                left -= len(row)
                if not row:
                    raise OSError(f"{self.path} was cut by another process")
                # cells are numbers, so each new column adds one comma to a row
                stream.write(row[:-1] + b"," * (len(self._columns) - 1 - row.count(b",")) + b"\n")
            for text in finished:
                stream.write(text)
            self._offset = stream.tell()
            for text in tail:
                stream.write(text)

        write_whole(self.path, fill)

    def _put(self, data: bytes) -> None:
        """Overwrites the rows that have changed; they never become shorter."""
        handle = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            former = os.pread(handle, len(data), self._offset)
            try:
                if os.pwrite(handle, data, self._offset) != len(data):
                    raise OSError("only a part of a row could be written")
            except BaseException:
                os.pwrite(handle, former, self._offset)
                os.ftruncate(handle, self._offset + len(former))
                raise
        finally:
            os.close(handle)
