"""The small files of a run's folder, read and judged: one that is not what a run writes is named in a line.

A kind says what a value has to be: types, or a mapping with the kinds of its keys. Keys that nobody reads are not
judged, and a key that is not there is no damage: whoever needs it says so.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from frame.common.errors import Damaged
from frame.composition.plain import parse_yaml
from frame.runs.journal import Line, number

MAX_BYTES = 20_000_000  # of a small file
LARGEST = 1e150  # of a finite number: squares of larger ones overflow
TEXT, NUMBER, FLAG = (str, type(None)), (int, float, type(None)), (bool, type(None))
SCALAR = (str, int, float, bool, type(None))
MAPPING, ANY_NODES, NAMES = (dict, type(None)), (dict, list, type(None)), (list, type(None))
WORDS: Mapping[tuple[type, ...], str] = {
    TEXT: "text",
    NUMBER: "number",
    FLAG: "true or false",
    MAPPING: "mapping",
    ANY_NODES: "mapping or list",
    NAMES: "list",
    SCALAR: "single value",
}
Kind = tuple[type, ...] | Mapping[str, Any]

COUNTERS = dict.fromkeys(("iterations", "epochs", "seconds", "samples", "updates"), NUMBER)
STATUS: Mapping[str, Kind] = {
    **dict.fromkeys(("state", "at", "reason"), TEXT),
    "format": NUMBER,
    "troubles": MAPPING,
    "metrics": MAPPING,
    "counters": COUNTERS,
}
COSTS: Mapping[str, Kind] = {"groups": NAMES} | dict.fromkeys(
    (
        "parameters",
        "encoder_parameters",
        "batch_size",
        "processes",
        "batch_rows",
        "flops_per_iteration",
        "flops_per_sample",
        "short_rows",
        "short_flops",
    ),
    NUMBER,
)
DATA: Mapping[str, Kind] = {"classes": NAMES, "n_classes": NUMBER, "splits": MAPPING}
CODE: Mapping[str, Kind] = dict.fromkeys(("frame", "commit", "sources", "configs"), TEXT)
PART: Mapping[str, Kind] = {"_target_": TEXT}
CONFIG: Mapping[str, Kind] = {
    **dict.fromkeys(("experiment_name", "seed", "weights"), SCALAR),
    **dict.fromkeys(("params", "seeds", "architectures", "device", "trainer", "checkpoint"), MAPPING),
    **dict.fromkeys(("model", "data", "optimization"), PART),
    "callbacks": ANY_NODES,
}


def content(file: Path) -> str | None:
    """A plain file's text; None where there is no such file. Links are not followed.

    Raises:
        Damaged: it is something else than a file, cannot be read, is far too large, or no UTF-8.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise damaged(file, "is a link, and links are not followed") from None
        raise damaged(file, f"cannot be read: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise damaged(file, "is no plain file")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise damaged(file, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)
    if len(raw) > MAX_BYTES:
        raise damaged(file, f"has more than {MAX_BYTES / 1e6:.0f} MB")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise damaged(file, f"is no UTF-8 (byte {error.start + 1})") from None


def mapping(file: Path, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """What a file of JSON holds, by its keys; nothing where there is no such file.

    Raises:
        Damaged: the file is something else, or a value is of another kind.
    """
    text = content(file)
    if text is None:
        return {}
    if not text.strip():
        raise damaged(file, "is empty")
    try:
        found = json.loads(text)
    except RecursionError:
        raise damaged(file, "is no JSON: it is nested too deeply") from None
    except ValueError as error:
        raise damaged(file, f"is no JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(found, dict):
        raise damaged(file, f"holds no keys, but a {type(found).__name__}")
    judge(found, kinds, file)
    return found


def words(file: Path) -> list[str]:
    """What a YAML list of words holds; nothing where there is no such file.

    Raises:
        Damaged: the file is something else.
    """
    text = content(file)
    if text is None:
        return []
    try:
        found = parse_yaml(text)
    except (yaml.YAMLError, ValueError):
        found = None
    if not isinstance(found, list) or not all(isinstance(word, str | int | float) for word in found):
        raise damaged(file, "is no list of words, as they were typed")
    return [str(word) for word in found]


def judge(found: Mapping[str, Any], kinds: Mapping[str, Kind], file: Path, within: str = "") -> None:
    """Raises Damaged where a value is of another kind than it has to be."""
    for key, kind in kinds.items():
        value = found.get(key)
        if isinstance(kind, Mapping):
            if value is not None and not isinstance(value, dict):
                raise damaged(file, f"{within}{key} is {_shown(value)} and no mapping")
            judge(value or {}, kind, file, f"{within}{key}.")
        elif not _fits(value, kind):
            raise damaged(file, f"{within}{key} is {_shown(value)} and no {WORDS[kind]}")


def _fits(value: Any, kind: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kind
    if isinstance(value, int | float) and isinstance(value, kind):
        return value != value or abs(value) == math.inf or -LARGEST <= value <= LARGEST
    return isinstance(value, kind)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."


def damaged(file: Path, what: str) -> Damaged:
    """The error for a file of a run."""
    otherwise = f"move {file.parent} away" if file.name == "config.yaml" else "remove it"  # a run can go on without
    return Damaged(f"{file} {what}: put a copy of it back, or {otherwise}")


# what a record is, as far as its readers rely on it: the types of each key that is there
_TEXT = frozenset({str})
RECORD = {
    **dict.fromkeys(("name", "unit", "split", "estimator", "layer", "bound", "better", "checkpoint"), _TEXT),
    **dict.fromkeys(("weights", "evaluation"), _TEXT),
    **dict.fromkeys(("iteration", "seconds"), frozenset({int, float})),
    "value": frozenset({int, float, str}),
    **dict.fromkeys(("n_samples", "standard_error", "took", "together"), frozenset({int, float, str, type(None)})),
    "interval": frozenset({list, type(None)}),
    "saturated": frozenset({bool}),
}


def is_record(line: Line) -> bool:
    """Whether it is one; NaN and infinities, which are texts in the file, become numbers."""
    for key, value in line.items():
        kinds = RECORD.get(key)
        if kinds is None:
            continue
        kind = type(value)  # with few calls: thousands of runs have millions of values
        if kind not in kinds:
            return False
        if kind is float or kind is int:
            if LARGEST < abs(value) < math.inf:
                return False
        elif kind is str and kinds is not _TEXT:
            found = number(value)
            if found is None:
                return False
            line[key] = found
    interval = line.get("interval")
    if interval is not None:
        line["interval"] = ends = [number(end) for end in interval]
        if len(ends) != 2 or None in ends:
            return False
    return "name" in line and "value" in line and _is_count(line.get("iteration")) and _is_count(line.get("seconds", 0))


def is_diagnosis(line: Line) -> bool:
    texts = isinstance(line.get("name"), str) and isinstance(line.get("text"), str)
    return texts and _is_count(line.get("iteration"))


def _is_count(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= LARGEST


def in_training(record: Line) -> bool:
    """Whether the run itself measured it, and no `frame evaluate` of a checkpoint."""
    return str(record.get("checkpoint", "iteration")).startswith("iteration")


def remarks(record: Mapping[str, Any]) -> str:
    """What is to be known beside a record's number: an interval, a bound, and whether it has reached its limit."""
    interval, bound = record.get("interval"), record.get("bound")
    said = [f"95 % {interval[0]:.5g} to {interval[1]:.5g}"] if interval else []
    said += [{"neither": "no bound"}.get(bound, f"{bound} bound")] if bound else []
    said += ["saturated: there may be far more"] if record.get("saturated") else []
    return "".join(f", {part}" for part in said)
