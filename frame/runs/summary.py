"""A summary of one run that needs no weights, small enough that thousands of them fit into memory.

`packed_summary` reads a run's files once, for lists, tables and figures. A RunSummary answers from it.
"""

import json
import math
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from frame.common.errors import UserError
from frame.common.selection import ALLOW
from frame.composition.settings import PARTS
from frame.runs.folder import RunFolder
from frame.runs.reading import CONFIG, judge

FILES = ("config.yaml", "overrides.yaml", "status.json", "records.jsonl", "costs.json")  # what `packed_summary` reads
FILE_KEYS = ("train", "path", "root")  # of a data set of the user's own files
AGAIN = ("last", "best")  # names of checkpoints in the records of `frame evaluate`
Record = dict[str, Any]


class PackedSummary(NamedTuple):
    """A run in JSON: `head` is small and read for each run, the others are packed until they are needed."""

    head: str
    config: bytes
    newest: bytes  # the newest record under each name


def packed_summary(run: RunFolder) -> PackedSummary:
    """Reads a run's files.

    Raises:
        UserError: one of them is damaged.
    """
    run.check_format()
    config, status, counted, records = run.plain, run.status, run.costs, run.records
    typed = [word.split("=", 1)[1] for word in run.overrides if word.lstrip("+").startswith("experiment=")]
    judge(config, CONFIG, run.path / "config.yaml")
    newest = {record["name"]: record for record in records}
    iteration = max((record["iteration"] for record in newest.values()), default=None)
    variant = re.search(r"(?:^|,)variant=([^,]+)", str(config.get("experiment_name")))
    head = {
        "name": config.get("experiment_name"),
        "typed": typed[-1] if typed else None,
        "variant": variant[1] if variant else None,
        "parts": {part: (data_of if part == "data" else class_of)(config[part]) for part in PARTS if config.get(part)},
        "status": {key: value for key, value in status.items() if key != "metrics"},
        "iteration": iteration,
        "params": config.get("params") or {},
        "seed": config.get("seed"),
        "seeds": config.get("seeds") or {},
        "costs": total_costs(counted, status.get("counters") or {}),
        "batch_size": counted.get("batch_size"),
        ALLOW: config.get(ALLOW),
    }
    return PackedSummary(json.dumps(head), _packed(config), _packed(newest))


def class_of(node: Mapping[str, Any]) -> str:
    """The class that a part names; of a mapping of splits, such as `data:`, those of its splits."""
    named = [node] if "_target_" in node else [split for split in node.values() if isinstance(split, dict)]
    return "+".join(dict.fromkeys(str(part.get("_target_")).split(".")[-1] for part in named))


def data_of(node: Mapping[str, Any]) -> str:
    """The class of the data, and of the user's own files the name of the file or folder: 'Table:penguins.csv'."""
    given = next((node[key] for key in FILE_KEYS if isinstance(node.get(key), str)), None)
    if "_target_" not in node or not given:
        return class_of(node)
    return f"{class_of(node)}:{given.rstrip('/').rpartition('/')[2].rpartition(':')[2]}"


def total_costs(counted: Mapping[str, Any], counters: Mapping[str, Any]) -> dict[str, float | None]:
    """Size and cost of the model, 'flops' and 'seconds' of the whole training; None if not known."""
    return {
        **{key: counted.get(key) for key in ("parameters", "encoder_parameters", "flops_per_sample")},
        "flops": _flops(counted, counters),
        **{key: counters.get(key) for key in ("epochs", "seconds")},
    }


def _flops(counted: Mapping[str, Any], counters: Mapping[str, Any]) -> float | None:
    """FLOPs of all iterations in all processes, with the counted costs of full and of short batches."""
    iterations, samples = counters.get("iterations"), counters.get("samples")
    each, short = counted.get("flops_per_iteration"), counted.get("short_rows")
    if each is None or iterations is None or samples is None:
        known: list[float | None] = [iterations, counted.get("batch_size"), counted.get("flops_per_sample")]
        return None if None in known else math.prod(number or 0 for number in known)
    n_processes, rows = counted.get("processes", 1), counted.get("batch_rows", 0)
    n_short = (iterations * rows - samples / n_processes) / (rows - short) if short else 0
    return float(n_processes * ((iterations - n_short) * each + n_short * counted.get("short_flops", 0)))


def courses(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """The records by name: the values that all of a name share, and lists of the others. A tenth of the size."""
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(record["name"], []).append(record)
    found = {}
    for name, several in by_name.items():
        keys = dict.fromkeys(chain.from_iterable(several))
        if len({*map(tuple, several)}) == 1:  # the usual case, and faster
            columns = dict(
                zip(keys, map(list, zip(*(record.values() for record in several), strict=True)), strict=True)
            )
        else:
            columns = {key: [record.get(key, _ABSENT) for record in several] for key in keys}
        same = {key: values[0] for key, values in columns.items() if _are_one(values)}
        each = {key: values for key, values in columns.items() if key not in same}
        found[name] = {"n": len(several), "same": same, "keys": [*each], "each": [*each.values()]}
    return found


_ABSENT = {"absent": True}  # no record has this value


def _are_one(values: Sequence[Any]) -> bool:
    return len({*map(type, values)}) == 1 and values.count(values[0]) == len(values)


def _course(packed: Mapping[str, Any]) -> list[Record]:
    found = []
    for i in range(packed["n"]):
        own = {key: values[i] for key, values in zip(packed["keys"], packed["each"], strict=True)}
        found.append(packed["same"] | {key: value for key, value in own.items() if value != _ABSENT})
    return found


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value).encode(), 1)


def _unpacked(packed: bytes) -> Any:
    return json.loads(zlib.decompress(packed))


class RunSummary:
    """One run: any key of its config, its state, its results.

    Args:
        run: the folder.
        found: its packed summary; None: it is read when it is needed.
    """

    def __init__(self, run: RunFolder, found: PackedSummary | None = None) -> None:
        self.run = run
        if found is not None:
            self.packed = found

    @cached_property
    def packed(self) -> PackedSummary:
        return packed_summary(self.run)

    @cached_property
    def head(self) -> dict[str, Any]:
        head: dict[str, Any] = json.loads(self.packed.head)
        return head

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config as plain values; references stay as they are written."""
        config: dict[str, Any] = _unpacked(self.packed.config)
        return config

    @property
    def status(self) -> dict[str, Any]:
        """The status, without the last measurements."""
        status: dict[str, Any] = self.head["status"]
        return status

    @cached_property
    def newest(self) -> dict[str, Record]:
        """The newest record under each name."""
        found: dict[str, Record] = _unpacked(self.packed.newest)
        # thousands of records have the same texts
        return {sys.intern(name): _interned(record) for name, record in found.items()}

    @cached_property
    def _courses(self) -> bytes:
        """All records, packed: few commands need them, and those several times."""
        return _packed(courses(self.run.records))

    @property
    def courses(self) -> dict[str, list[Record]]:
        """All records, the oldest first, by their names; unpacked each time.

        Raises:
            Damaged: the records can no longer be read.
        """
        return {name: _course(packed) for name, packed in _unpacked(self._courses).items()}

    def course(self, name: str) -> list[Record]:
        """The records of a name that were measured in training, the oldest first.

        Raises:
            Damaged: as `courses`.
        """
        packed = _unpacked(self._courses).get(name) if name in self.newest else None
        return [record for record in _course(packed) if record.get("checkpoint") not in AGAIN] if packed else []

    def record(self, metric: str) -> Record | None:
        """The newest record of a name; for 'name@5000' that of an iteration, for 'name@90s' the last until that time.

        Raises:
            UserError: there is no number after the @.
        """
        name, _, at = metric.partition("@")
        if not at:
            return self.newest.get(name)
        limit = as_number(at.removesuffix("s"))
        if limit is None:
            raise UserError(f"{metric}: write an iteration, or seconds of training, after @, such as @5000 or @90s")
        found = self.course(name)
        key = "seconds" if at.endswith("s") else "iteration"
        there = [r for r in found if key in r and (r[key] <= limit if key == "seconds" else r[key] == limit)]
        return there[-1] if there else None

    @cached_property
    def facts(self) -> dict[str, Any]:
        return {
            "run": str(self.run.path),
            "experiment": self.experiment,
            **({"variant": self.variant} if self.variant else {}),
            **self.head["parts"],
            "state": self.state,
            "iteration": self.head["iteration"],
        }

    @property
    def typed_experiment(self) -> str | None:
        """The typed experiment; None if its parts were typed instead."""
        typed: str | None = self.head["typed"]
        return typed

    @property
    def variant(self) -> str | None:
        """The variant of a sweep file; None if it has none."""
        variant: str | None = self.head["variant"]
        return variant

    @property
    def experiment(self) -> str | None:
        """The typed experiment, else the run's name."""
        return self.typed_experiment or self.head["name"]

    @property
    def costs(self) -> dict[str, float | None]:
        """See `total_costs`."""
        found: dict[str, float | None] = self.head["costs"]
        return found

    @cached_property
    def state(self) -> str:
        """running, finished, stopped or failed; 'killed' if the status is running but no process holds the lock."""
        state = str(self.status.get("state") or "unknown")
        return "killed" if state == "running" and not self.run.is_locked() else state

    def get(self, key: str) -> Any:
        """A fact, a result by its name, or a key of the config; None if there is none."""
        if key in self._known:
            return self._known[key]
        if key.startswith(("params.", "seeds.")):
            return _shown(_at(self.head, key.split(".")))
        if key in self.newest or "@" in key:
            record = self.record(key)
            return record["value"] if record is not None else None
        return _shown(_at(self.config, key.split(".")))

    @cached_property
    def _known(self) -> dict[str, Any]:
        """The most frequent keys: commands over thousands of runs ask for a parameter a million times."""
        params = {f"params.{key}": _shown(value) for key, value in self.head["params"].items()}
        return {**params, "seed": self.head["seed"], ALLOW: self.head[ALLOW], **self.costs, **self.facts}

    def keys(self) -> list[str]:
        """The keys that `get` answers, other than those of the config: facts, results, parameters."""
        return [*self.facts, *self.newest, *self.params]

    @property
    def params(self) -> list[str]:
        """The keys of its parameters, 'params.beta' ..."""
        return [f"params.{key}" for key in self.head["params"]]


def _at(node: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


def _shown(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _interned(record: Record) -> Record:
    return {sys.intern(key): sys.intern(value) if isinstance(value, str) else value for key, value in record.items()}


def as_number(value: Any) -> float | None:
    """A number, also from a text; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
