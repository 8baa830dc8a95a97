"""Chooses the pictures and tables of a run to keep: the first, the last, and a bounded number evenly in between."""

from collections.abc import Iterator
from pathlib import Path

from frame.runs.journal import Journal, Line

FILE = "pictures.jsonl"  # a line for each picture or table that a run drew, kept or not
KEEP = 100  # the default in config.yaml


def stride(n_drawn: int, keep: int | None) -> int:
    """The smallest n of 1, 2, 4, ... for which every n-th of `n_drawn` and the last are at most `keep`."""
    step = 1
    while keep is not None and -(-(n_drawn - 1) // step) + 1 > keep:
        step *= 2
    return step


class Drawn:
    """The drawings in a run's folder, by kind ('images', 'tables') and folder: iterations, in order.

    The choice depends only on their number, so that a run that was killed and resumed ends with the same pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / FILE)
        self._iterations: dict[tuple[str, str], list[int]] | None = None
        self._later: set[tuple[str, str, int]] = set()  # drawn by evaluations of a checkpoint, all of which are kept

    def add(self, kind: str, name: str, iteration: int, keep: int | None, checkpoint: str) -> list[int]:
        """Notes a new drawing; returns the iterations of those to remove.

        Raises:
            OSError: it could not be noted yet; it will be noted with the next one.
        """
        drawn = self._read().setdefault((kind, name), [])
        line = {"iteration": iteration, "kind": kind, "name": name}
        if checkpoint:
            self._later.add((kind, name, iteration))
            self.journal.keep({**line, "checkpoint": checkpoint})
            return []
        gone: list[int] = []
        if not drawn or drawn[-1] != iteration:
            drawn.append(iteration)
            n = len(drawn)
            step = stride(n, keep)
            candidates = range(n - 1) if step != stride(n - 1, keep) else range(max(0, n - 2), n - 1)
            gone = [drawn[i] for i in candidates if i % step and (kind, name, drawn[i]) not in self._later]
            self.journal.keep(line)
        return gone

    def cut(self, iteration: int) -> None:
        """Forgets the drawings of training after `iteration`.

        Raises:
            OSError: as `Journal.cut`.
        """
        self.journal.cut(lambda line: _fits(line) and (line["iteration"] <= iteration or "checkpoint" in line))
        self._iterations = None

    def stays(self, kind: str, name: str, iteration: int, until: int, keep: int | None) -> bool:
        """Whether a file of the run is kept if training is resumed at the iteration `until`."""
        drawn = self._read().get((kind, name), [])
        if (kind, name, iteration) in self._later:
            return True
        if iteration > until:
            return False
        if iteration not in drawn:
            return True
        number = drawn.index(iteration)
        return number == len(drawn) - 1 or number % stride(len(drawn), keep) == 0

    def _read(self) -> dict[tuple[str, str], list[int]]:
        if self._iterations is None:
            self._iterations, self._later = {}, set()
            for line in self.journal.read(_fits):
                key = line["kind"], line["name"]
                if "checkpoint" in line:
                    self._later.add((*key, line["iteration"]))
                else:
                    self._iterations.setdefault(key, []).append(line["iteration"])
        return self._iterations


def _fits(line: Line) -> bool:
    return type(line.get("iteration")) is int and all(isinstance(line.get(key), str) for key in ("kind", "name"))


class Shown:
    """Chooses the pictures of a logger that cannot remove any: those that the run keeps for longer."""

    def __init__(self) -> None:
        self._drawn: dict[str, int] = {}

    def takes(self, name: str, keep: int | None) -> bool:
        """Whether the logger shows the next picture of this name."""
        number = self._drawn[name] = self._drawn.get(name, -1) + 1
        return number % stride(number + 1, keep) == 0


def files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Pictures and tables of a run: kind, name and file."""
    for kind in ("images", "tables"):
        for file in folder.glob(f"{kind}/*/*"):
            yield kind, file.parent.name, file
