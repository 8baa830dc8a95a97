"""Finds, filters, sorts and shows runs. Nothing here needs torch."""

import glob
import math
import operator
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from frame.common.errors import UserError, choices
from frame.common.numbers import counted, unsigned_zero
from frame.composition.settings import PARTS
from frame.runs.folder import RunFolder
from frame.runs.index import Index, stamp
from frame.runs.reading import remarks
from frame.runs.summary import PackedSummary, RunSummary, as_number, packed_summary

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")
MANY = 100  # with at least so many runs, several processes read them
MARKS = {"config.yaml", "overrides.yaml", "status.json"}  # a folder with two of these is a run, possibly a broken one
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
CONDITION = re.compile(r"([\w./@-]+)(>=|<=|!=|=|>|<)(.*)", re.DOTALL)


def find(patterns: Sequence[str | Path]) -> list[RunFolder]:
    """The runs in these folders, at any depth, sorted by path, each once. None of their files is read.

    A path that exists is taken literally; otherwise `*`, `?` and `[...]` are patterns.

    Raises:
        UserError: one of them leads to no run.
    """
    found: set[Path] = set()
    for pattern in patterns:
        runs = [run for place in _places(str(pattern)) for run in _below(place)]
        if not runs:
            raise UserError(f"no run in {pattern}: give a run's folder, one that holds runs, or a pattern in quotes")
        found.update(runs)
    return [RunFolder(path) for path in sorted(found)]


def only(place: str | Path) -> Path:
    """The run in this folder, or the only one below it; the folder itself if there is none.

    Raises:
        UserError: there are several.
    """
    folder = Path(place).expanduser()
    runs = [] if (folder / "config.yaml").is_file() else _below(folder)
    if len(runs) > 1:
        raise UserError(f"{place} has {len(runs)} runs: name one of them, such as {runs[-1]}")
    return runs[0] if runs else folder


def _places(pattern: str) -> list[Path]:
    for literal in (pattern, os.path.expanduser(pattern)):
        if os.path.lexists(literal):
            return [Path(literal)]
    return [Path(place) for place in sorted(glob.glob(os.path.expanduser(pattern), recursive=True))]


def is_run(names: set[str]) -> bool:
    """Whether a folder in which there are these names is a run."""
    return len(MARKS & names) > 1


def _below(place: Path) -> list[Path]:
    runs = []
    for folder, below, files in os.walk(place):
        if is_run({*files, *below}):
            runs.append(Path(folder))
            below.clear()  # nothing inside a run is another run
    return sorted(runs)


def each(runs: Iterable[RunFolder], do: Callable[[RunFolder], T]) -> list[T]:
    """The result of `do` for each run. Damaged runs are named on stderr and left out.

    Raises:
        UserError: all of them are damaged; gives the first one's reason.
    """
    found: list[T] = []
    broken: list[str] = []
    for run in runs:
        try:
            found.append(do(run))
        except UserError as error:
            broken.append(str(error))
    if broken and not found:
        raise UserError(
            broken[0] + (f" ({counted(len(broken) - 1, 'more runs')} cannot be read either)" if broken[1:] else "")
        )
    for line in broken:
        print(f"frame: left out: {line}", file=sys.stderr)
    return found


def summaries(runs: Sequence[RunFolder] | Sequence[RunSummary]) -> list[RunSummary]:
    """The summary of each run, from the index if its files have not changed; see `each`. Summaries are passed through.

    Raises:
        UserError: all of them are damaged.
    """
    folders = [run for run in runs if isinstance(run, RunFolder)]
    index = Index(run.path for run in folders)
    stamps = {run.path: stamp(run.path) for run in folders}
    known = {path: found for path, now in stamps.items() if (found := index.get(path, now)) is not None}
    new = _read_by_several([run.path for run in folders if run.path not in known])

    def read(run: RunFolder) -> RunSummary:
        found = known.get(run.path) or new.get(run.path)
        if found is None:
            found = packed_summary(run)
            if run.is_whole:  # else it is read each time, so that its broken lines are named
                new[run.path] = found
        return RunSummary(run, found)

    those = each(folders, read) if folders else []
    for path, packed in new.items():
        index.put(path, stamps[path], packed)
    index.save()
    return [*those, *(run for run in runs if isinstance(run, RunSummary))]


def _read_by_several(paths: Sequence[Path]) -> dict[Path, PackedSummary]:
    """Reads many runs with one process per core. Leaves out damaged runs, which the caller reads again and names.

    Returns nothing if there are few runs, or if forking is not safe: another thread runs, or torch is loaded.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    if len(paths) < MANY or cores == 1 or threading.active_count() > 1 or "torch" in sys.modules:
        return {}
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    with warnings.catch_warnings(), suppress(BrokenProcessPool, OSError):
        # Python 3.12 warns of threads of libraries such as numpy, which are idle here
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        with ProcessPoolExecutor(min(cores, 8), get_context("fork"), initializer=_silent) as pool:
            found = pool.map(_read_whole, paths, chunksize=1 + len(paths) // 50)
            return {path: packed for path, packed in zip(paths, found, strict=True) if packed is not None}
    return {}


def _silent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stderr = open(os.devnull, "w")  # closed when the process ends


def _read_whole(path: Path) -> PackedSummary | None:
    run = RunFolder(path)
    try:
        found = packed_summary(run)
    except UserError:
        return None
    return found if run.is_whole else None


def select(summaries: Sequence[RunSummary], conditions: Sequence[str], sort: str | None = None) -> list[RunSummary]:
    """The runs for which all conditions hold ('params.beta>0.1', 'state=finished'), sorted by a key or by '-key'.

    Raises:
        UserError: a condition cannot be read, or no run has its key.
    """
    chosen = list(summaries)
    for condition in conditions:
        match = CONDITION.fullmatch(condition)
        if match is None:
            raise UserError(f"cannot read '{condition}': write key=value, 'key>value' and the like, in quotes")
        key, sign, wanted = match.groups()
        _known(summaries, key)
        chosen = [summary for summary in chosen if _holds(summary.get(key), sign, wanted)]
    if sort is not None:
        key = sort.removeprefix("-")
        _known(summaries, key)
        there = [s for s in chosen if s.get(key) is not None]
        there.sort(key=lambda s: _order(s.get(key)), reverse=sort.startswith("-"))
        chosen = there + [s for s in chosen if s.get(key) is None]
    return chosen


def _known(summaries: Sequence[RunSummary], key: str) -> None:
    if summaries and all(summary.get(key) is None for summary in summaries):
        known = {key for summary in summaries for key in summary.keys()}
        raise UserError(choices(key, known, kind="key or result of these runs"))


def _order(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (False, value) if number else (True, str(value))


def _holds(value: Any, sign: str, wanted: str) -> bool:
    if value is None:
        return sign == "!="
    number, limit = as_number(value), as_number(wanted)
    if number is not None and limit is not None:
        return OPERATORS[sign](number, limit)
    return OPERATORS[sign](str(value).lower(), wanted.lower())


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Aligned columns for a terminal. Numbers are shortened and aligned to the right."""
    cells = [[shown(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells), 0) for i, column in enumerate(columns)]
    right = [
        all(as_number(row.get(column)) is not None or row.get(column) is None for row in rows) for column in columns
    ]
    lines = [list(columns), *cells]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    return f"{value:.2f}" if abs(value) >= 10 else unsigned_zero(f"{value:.4g}")


def varying(summaries: Sequence[RunSummary]) -> list[str]:
    """The parameters, and the seed, in which the runs differ."""
    keys = ["seed", *dict.fromkeys(key for summary in summaries for key in summary.params)]
    return [key for key in keys if len({str(summary.get(key)) for summary in summaries}) > 1]


def results(pattern: str | Path | Sequence[str | Path]) -> "pandas.DataFrame":
    """All records of the runs below a folder or pattern, one row each, with the columns `run`, `experiment`, `model`,
    `data`, `state`, `seed` and the parameters (`params.beta` ...).

    Raises:
        UserError: there is no run.

    Example:
        >>> records = frame.results("runs/digits_VAE")
        >>> records[records.name == "ELBO/Test"].groupby("params.beta").value.mean()
    """
    import pandas

    found = summaries(find([pattern] if isinstance(pattern, (str, Path)) else pattern))
    return pandas.DataFrame([{**record, **beside(summary)} for summary in found for record in summary.run.records])


def runs_table(found: Sequence[RunSummary]) -> "pandas.DataFrame":
    """One row a run: its folder, experiment, parts, state, seed and parameters, and its newest results by name.

    Floors are left out.
    """
    import pandas

    newest = [
        {name: record["value"] for name, record in summary.newest.items() if "/floor/" not in name} for summary in found
    ]
    return pandas.DataFrame([{**beside(summary), **values} for summary, values in zip(found, newest, strict=True)])


def places_of(runs: Any) -> list[str | Path]:
    """Folders or patterns of what Python gives: one or several of an opened run, a folder or a pattern."""
    several = runs if isinstance(runs, list | tuple) else [runs]
    return [run.folder.path if hasattr(run, "folder") else run for run in several]


def beside(summary: RunSummary) -> dict[str, Any]:
    """What stands beside each of a run's records in a data frame: its facts, seed and parameters."""
    facts = {key: value for key, value in summary.facts.items() if key != "iteration"}
    return {**facts, "seed": summary.get("seed"), **{key: summary.get(key) for key in summary.params}}


def show(run: RunFolder) -> str:
    """Text on one run: its parts, its state, its results and its pictures.

    Raises:
        UserError: one of its files is damaged.
    """
    summary = RunSummary(run)
    config, status = summary.config, summary.status
    lines = [str(run.path), ""]
    data = config.get("data") or {}
    splits = {} if "_target_" in data else {f"data.{split}": node for split, node in data.items()}
    named = {**{part: config.get(part) for part in PARTS}, **splits, **(config.get("architectures") or {})}
    lines += [
        f"  {name:<13} {node['_target_']}"
        for name, node in named.items()
        if isinstance(node, dict) and "_target_" in node
    ]
    lines += [f"  {key.removeprefix('params.'):<13} {summary.get(key)}" for key in summary.params]
    lines += [f"  {'seed':<13} {summary.get('seed')}"]
    groups = [group for group in run.costs.get("groups") or () if isinstance(group, dict)]
    if groups:
        lines += ["", table(groups, ["player", "group", "tensors", "parameters", "lr", "options", "frozen"])]
    why = f": {status['reason'].strip().splitlines()[-1]}" if (status.get("reason") or "").strip() else ""
    lines += ["", f"  {summary.state}{why}, at {status.get('at', '?')}"]
    lines += [f"  {name} {text}" for name, text in (status.get("troubles") or {}).items()]
    for said in run.diagnoses:
        lines.append(f"  doctor, iteration {said['iteration']}: {said['name']}: {said['text']}")
    if summary.newest:
        columns = ["name", "value", "±", "unit", "split", "n_samples", "checkpoint", "estimator"]
        rows = [
            {
                **record,
                "±": record.get("standard_error"),
                "estimator": (record.get("estimator") or "") + remarks(record),
            }
            for record in summary.newest.values()
        ]
        lines += ["", table(rows, columns)]
    pictures = [f"  picture  {picture}" for picture in run.newest_pictures]
    lines += ["", *pictures] if pictures else []
    return "\n".join(lines)
