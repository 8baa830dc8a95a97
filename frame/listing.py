"""Runs beside one another: found, filtered, sorted, shown; none of it needs torch."""

import glob
import json
import math
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from frame.compose import PARTS
from frame.mistakes import Mistake, choices
from frame.runs import RunFolder
from frame.words import remarks

if TYPE_CHECKING:
    import pandas

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
    """The runs in these folders, at any depth below them; patterns may have `*`. Sorted by path, each once.

    Raises:
        Mistake: a pattern leads to no run.
    """
    found: dict[Path, RunFolder] = {}
    for pattern in patterns:
        places = [Path(place) for place in sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))]
        runs = [run for place in places for run in _below(place)]
        if not runs:
            raise Mistake(f"no run in {pattern}: give a run's folder, one that holds runs, or a pattern in quotes")
        found |= {run: RunFolder.existing(run) for run in runs}
    return [found[path] for path in sorted(found)]


def _below(place: Path) -> list[Path]:
    runs = []
    for folder, below, files in os.walk(place):
        if "config.yaml" in files and ("status.json" in files or "overrides.yaml" in files):
            runs.append(Path(folder))
            below.clear()  # nothing inside a run is another run
    return sorted(runs)


class Summary:
    """What is known of one run without opening its weights: any key of its config, where it stands, its results."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run

    @cached_property
    def config(self) -> DictConfig:
        return self.run.config

    @cached_property
    def status(self) -> dict[str, Any]:
        return self.run.status

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        return self.run.records

    @cached_property
    def newest(self) -> dict[str, dict[str, Any]]:
        """The newest record under each name."""
        return {record["name"]: record for record in self.records}

    def record(self, metric: str) -> dict[str, Any] | None:
        """The newest record of a name; of 'name@5000' that at an iteration, of 'name@90s' the last until then."""
        name, _, at = metric.partition("@")
        if not at:
            return self.newest.get(name)
        found = [r for r in self.records if r["name"] == name and r.get("checkpoint") not in ("last", "best")]
        limit = _number(at.removesuffix("s"))
        if limit is None:
            raise Mistake(f"{metric}: behind @ stands an iteration, or seconds of training, such as @5000 or @90s")
        there = [r for r in found if (r["seconds"] <= limit if at.endswith("s") else r["iteration"] == limit)]
        return there[-1] if there else None

    @cached_property
    def facts(self) -> dict[str, Any]:
        newest = max(self.newest.values(), key=lambda record: record["iteration"], default={"iteration": None})
        parts = {part: str(self.config[part]["_target_"]).split(".")[-1] for part in PARTS if part in self.config}
        return {
            "run": str(self.run.path),
            "experiment": self.experiment,
            **({"variant": self.variant} if self.variant else {}),
            **parts,
            "state": self.state,
            "iteration": newest["iteration"],
        }

    @property
    def typed_experiment(self) -> str | None:
        """The experiment that was typed; None where the parts were."""
        file = self.run.path / "overrides.yaml"
        typed = re.findall(r"^- ['\"]?\+?experiment=([\w.-]+)", file.read_text() if file.exists() else "", re.MULTILINE)
        return typed[-1] if typed else None

    @property
    def variant(self) -> str | None:
        """Of a sweep file that names variants; the cell says it."""
        found = re.search(r"(?:^|,)variant=([^,]+)", str(self.config.get("experiment_name")))
        return found[1] if found else None

    @property
    def experiment(self) -> str | None:
        """The experiment that was typed; the run's name where none was."""
        return self.typed_experiment or self.config.get("experiment_name")

    @cached_property
    def costs(self) -> dict[str, float | None]:
        """Size and cost of the model; 'flops' of the whole training, 'seconds' of it; None where they are not known."""
        facts, counters = self.run.facts, self.status.get("counters", {})
        rows = counters.get("iterations", math.nan) * facts.get("batch_size", math.nan)
        return {
            "parameters": facts.get("parameters"),
            "encoder_parameters": facts.get("encoder_parameters"),
            "flops_per_sample": facts.get("flops_per_sample"),
            "flops": None if math.isnan(rows) else rows * facts["flops_per_sample"],
            "epochs": counters.get("epochs"),
            "seconds": counters.get("seconds"),
        }

    @property
    def state(self) -> str:
        """running, finished, stopped or failed; 'killed' where it says running and nobody holds its lock."""
        state = str(self.status.get("state", "unknown"))
        return "killed" if state == "running" and not self.run.is_locked() else state

    def get(self, key: str) -> Any:
        """A fact, a result by its name, or a key of the config; None where there is none."""
        if key in self.facts:
            return self.facts[key]
        if key in self.costs:
            return self.costs[key]
        if key in self.newest or "@" in key:
            record = self.record(key)
            return record["value"] if record is not None else None
        try:
            value = OmegaConf.select(self.config, key, throw_on_missing=False)
        except Exception:  # a reference that only the machine of the run can fill in
            return None
        return json.dumps(OmegaConf.to_container(value)) if OmegaConf.is_config(value) else value

    def keys(self) -> list[str]:
        """All that `get` answers: facts, results, parameters."""
        params = [f"params.{key}" for key in self.config.get("params") or {}]
        return [*self.facts, *self.newest, *params]


def select(summaries: Sequence[Summary], conditions: Sequence[str], sort: str | None = None) -> list[Summary]:
    """The runs for which all conditions hold ('params.beta>0.1', 'state=finished'); `sort` by a key, '-key' downwards.

    Raises:
        Mistake: a condition cannot be read, or no run has its key.
    """
    chosen = list(summaries)
    for condition in conditions:
        match = CONDITION.fullmatch(condition)
        if match is None:
            raise Mistake(f"cannot read '{condition}': write key=value, 'key>value' and the like, in quotes")
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


def _known(summaries: Sequence[Summary], key: str) -> None:
    if summaries and all(summary.get(key) is None for summary in summaries):
        known = {key for summary in summaries for key in summary.keys()}
        raise Mistake(choices(key, known, kind="key or result of these runs"))


def _order(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (False, value) if number else (True, str(value))


def _holds(value: Any, sign: str, wanted: str) -> bool:
    if value is None:
        return sign == "!="
    number, limit = _number(value), _number(wanted)
    if number is not None and limit is not None:
        return OPERATORS[sign](number, limit)
    return OPERATORS[sign](str(value).lower(), wanted.lower())


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Aligned columns for a terminal; numbers to the right, short."""
    cells = [[shown(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells), 0) for i, column in enumerate(columns)]
    right = [all(_number(row.get(column)) is not None or row.get(column) is None for row in rows) for column in columns]
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
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4g}"


def varying(summaries: Sequence[Summary]) -> list[str]:
    """The parameters, and the seed, in which the runs differ."""
    keys = ["seed", *dict.fromkeys(k for s in summaries for k in s.keys() if k.startswith("params."))]
    return [key for key in keys if len({str(summary.get(key)) for summary in summaries}) > 1]


def results(pattern: str | Path | Sequence[str | Path]) -> "pandas.DataFrame":
    """All records of the runs below a folder or pattern: a row a number, with `run`, `experiment`, `model`, `data`,
    `state`, `seed` and the parameters (`params.beta` ...) beside it.

    Raises:
        Mistake: there is no run.
    """
    import pandas

    rows = []
    for run in find([pattern] if isinstance(pattern, (str, Path)) else pattern):
        summary = Summary(run)
        facts = {key: value for key, value in summary.facts.items() if key != "iteration"}
        params = {key: summary.get(key) for key in summary.keys() if key.startswith("params.")}
        beside = {**facts, "seed": summary.get("seed"), **params}
        rows += [{**record, **beside} for record in run.records]
    return pandas.DataFrame(rows)


def show(run: RunFolder) -> str:
    """What a run is: its composition, where it stands, its results and its pictures."""
    summary = Summary(run)
    lines = [str(run.path), ""]
    lines += [f"  {part:<13} {summary.config[part]['_target_']}" for part in PARTS if part in summary.config]
    architectures = summary.config.get("architectures") or {}
    lines += [
        f"  {name:<13} {node['_target_']}"
        for name, node in architectures.items()
        if node is not None and "_target_" in node
    ]
    lines += [f"  {key:<13} {summary.get(f'params.{key}')}" for key in summary.config.get("params") or {}]
    lines += [f"  {'seed':<13} {summary.get('seed')}"]
    why = f": {str(summary.status['reason']).strip().splitlines()[-1]}" if summary.status.get("reason") else ""
    lines += ["", f"  {summary.state}{why}, at {summary.status.get('at', '?')}"]
    lines += [f"  {name} {text}" for name, text in (summary.status.get("troubles") or {}).items()]
    for said in run.diagnoses:
        lines.append(f"  doctor, iteration {said['iteration']}: {said['name']}: {said['text']}")
    if summary.newest:
        columns = ["name", "value", "±", "unit", "split", "n_samples", "checkpoint", "estimator"]
        rows = [
            {**record, "±": record.get("standard_error"), "estimator": record["estimator"] + remarks(record)}
            for record in summary.newest.values()
        ]
        lines += ["", table(rows, columns)]
    pictures = [f"  picture  {picture}" for picture in run.newest_pictures]
    lines += ["", *pictures] if pictures else []
    return "\n".join(lines)
