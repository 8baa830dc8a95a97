"""A sweep's progress: the line that it shows, and the results of its runs so far."""

import math
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean as mean
from typing import Any

from frame.analysis.intervals import ranked
from frame.common import selection
from frame.common.errors import Damaged
from frame.common.output import say, shortened
from frame.runs.folder import RunFolder
from frame.sweeps.cells import Study


def values(run: RunFolder, metric: str, allow_test: bool = False) -> list[float]:
    """A run's measurements of the metric, in order. None for a damaged run, which is named once.

    Raises:
        UserError: they were measured on test, which is not allowed.
    """
    try:
        found = [record for record in run.records if record["name"] == metric]
    except Damaged as damaged:
        named(str(damaged))
        return []
    selection.check("metric", metric, found, allow_test)
    return [float(record["value"]) for record in found]


@cache
def named(damage: str) -> None:
    """Warns on stderr of a damaged run, only once per command."""
    say(f"left out: {damage}")


def last(measured: Sequence[float]) -> float | None:
    return measured[-1] if measured else None


def best(study: Study, allow_test: bool = False) -> tuple[str, float, int] | None:
    """The best point's name, the mean over its finished seeds and their number; None while there is none.

    Considers only points with the most finished seeds: one lucky seed is not better than three.
    """
    metric, found = study.sweep.metric, dict[int, dict[Any, float]]()
    names: dict[int, str] = {}
    for cell in study.cells() if metric else []:
        run = study.run(cell)
        if run is None or run.standing.get("state") != "finished":
            continue
        value = last(values(run, metric, allow_test))
        if value is not None and math.isfinite(value):
            found.setdefault(cell.number, {})[cell.seed] = value
            names[cell.number] = re.sub(r",?seed=\d+$", "", cell.name)
    if not found:
        return None
    most = max(map(len, found.values()))
    number = ranked({n: seeds for n, seeds in found.items() if len(seeds) == most}, not study.sweep.maximize)[0]
    return names[number], mean(found[number].values()), most


class StatusLine:
    """A line that is overwritten, on a terminal only."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.last = 0.0

    def show(self, text: Callable[[], str]) -> None:
        """Shows the line that `text` makes, at most once a second."""
        if self.terminal and time.monotonic() - self.last > 1:
            self.last = time.monotonic()
            width = shutil.get_terminal_size().columns - 1
            print("\r" + shortened(text(), width).ljust(width), end="", file=sys.stderr)

    def say(self, text: str) -> None:
        self.clear()
        print(text, flush=True)

    def clear(self) -> None:
        if self.terminal:
            print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """'40 s', '12 min', '3.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def percent(log: Path) -> str:
    """A run's progress in percent, from its log."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 2000))
        found = re.findall(rb"(\d+)%", stream.read())
    return f"{int(found[-1])}%" if found else "starts"


def last_line(log: Path) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]", log.read_text(errors="replace")) if line.strip()]
    said = [line for line in lines if line.startswith("frame:") and "the run is in" not in line]
    found = (said or lines or [""])[-1].removeprefix("frame: ")
    return found if len(found) < 200 else found[:200] + "…"
