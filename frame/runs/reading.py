"""Reads and checks the small files of a run's folder. A file that no run would write is an error of one line.

A kind says what a value must be: types, or a mapping with the kinds of its keys. Keys that nobody reads are not
checked. A missing key is not damage; the caller that needs it raises.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from frame.common.errors import Damaged
from frame.composition.plain import parse_yaml
from frame.runs.journal import Line, number

MAX_BYTES = 20_000_000  # of a small file
LARGEST = 1e150  # finite number: squares of larger ones overflow
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
    (str,): "text",
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
CODE: Mapping[str, Kind] = {
    **dict.fromkeys(("frame", "commit", "sources", "configs", "folder"), TEXT),
    "modules": MAPPING,
    "seals": NAMES,
}
MODULE: Mapping[str, Kind] = {"sha256": (str,), "path": (str,), **dict.fromkeys(("file", "left_out"), TEXT)}
PART: Mapping[str, Kind] = {"_target_": TEXT}
CONFIG: Mapping[str, Kind] = {
    **dict.fromkeys(("experiment_name", "seed", "weights"), SCALAR),
    **dict.fromkeys(("params", "seeds", "architectures", "device", "trainer", "checkpoint"), MAPPING),
    **dict.fromkeys(("model", "data", "optimization"), PART),
    "callbacks": ANY_NODES,
}


def content(file: Path) -> str | None:
    """A plain file's text; None if there is no such file. Links are not followed.

    Raises:
        Damaged: it is not a plain file, cannot be read, is far too large, or is not UTF-8.
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
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise damaged(file, "is not a plain file")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            raw = stream.read(min(found.st_size, MAX_BYTES) + 1)  # no buffer of 20 MB for each small file
    except OSError as error:
        raise damaged(file, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)
    if len(raw) > MAX_BYTES:
        raise damaged(file, f"has more than {MAX_BYTES / 1e6:.0f} MB")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise damaged(file, f"is not UTF-8 (byte {error.start + 1})") from None


def mapping(file: Path, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The mapping in a JSON file; empty if there is no such file.

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
        raise damaged(file, "is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise damaged(file, f"is not JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(found, dict):
        raise damaged(file, f"holds no keys, but a {type(found).__name__}")
    judge(found, kinds, file)
    return found


def words(file: Path) -> list[str]:
    """The words in a YAML list; none if there is no such file.

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
        raise damaged(file, "is not a list of words")
    return [str(word) for word in found]


def judge(found: Mapping[str, Any], kinds: Mapping[str, Kind], file: Path, within: str = "") -> None:
    """Raises Damaged if a value is not of its kind."""
    for key, kind in kinds.items():
        value = found.get(key)
        if isinstance(kind, Mapping):
            if value is not None and not isinstance(value, dict):
                raise damaged(file, f"{within}{key} is {_shown(value)} (expected: mapping)")
            judge(value or {}, kind, file, f"{within}{key}.")
        elif not _fits(value, kind):
            raise damaged(file, f"{within}{key} is {_shown(value)} (expected: {WORDS[kind]})")


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
    otherwise = f"move {file.parent} away" if file.name == "config.yaml" else "remove it"  # a run can go on without it
    return Damaged(f"{file} {what}: put a copy of it back, or {otherwise}")


# the types of a record's keys; a key may be missing
_TEXT = frozenset({str})
COUNTS = ("iteration", "seconds")
RECORD = {
    **dict.fromkeys(("name", "unit", "split", "estimator", "layer", "bound", "better", "checkpoint"), _TEXT),
    **dict.fromkeys(("weights", "evaluation", "network", "source"), _TEXT),
    **dict.fromkeys(("iteration", "seconds"), frozenset({int, float})),
    "value": frozenset({int, float, str}),
    **dict.fromkeys(
        ("n_samples", "width", "standard_error", "took", "together"), frozenset({int, float, str, type(None)})
    ),
    "interval": frozenset({list, type(None)}),
    "saturated": frozenset({bool}),
}


def is_record(line: Line) -> bool:
    """Whether a line is a record. NaN and infinities, which are texts in the file, become numbers."""
    shape = _record_shape(tuple(line), tuple(map(type, line.values())))
    if shape is None:
        return False
    numbers, texts, has_interval = shape
    for key in numbers:
        value = line[key]
        if not -LARGEST <= value <= LARGEST and -math.inf < value < math.inf:
            return False
    for key in texts:
        found = number(line[key])
        if found is None:
            return False
        line[key] = found
    if has_interval:
        line["interval"] = ends = [number(end) for end in line["interval"]]
        if len(ends) != 2 or None in ends:
            return False
    return 0 <= line["iteration"] <= LARGEST and 0 <= line.get("seconds", 0) <= LARGEST


@lru_cache(maxsize=1000)
def _record_shape(
    keys: tuple[str, ...], types: tuple[type, ...]
) -> tuple[tuple[str, ...], tuple[str, ...], bool] | None:
    """The remaining checks of a record with these keys and types: numbers, numbers as texts, an interval.

    None if it is not a record. It is cached, because thousands of runs have millions of records of few shapes.
    """
    line = dict(zip(keys, types, strict=True))
    if not {"name", "value", "iteration"} <= line.keys():
        return None
    known = {key: kind for key, kind in line.items() if key in RECORD}
    if any(kind not in RECORD[key] for key, kind in known.items()):
        return None
    numbers = tuple(key for key, kind in known.items() if kind in (int, float) and key not in COUNTS)
    texts = tuple(key for key, kind in known.items() if kind is str and RECORD[key] is not _TEXT)
    return numbers, texts, line.get("interval") is list


def is_diagnosis(line: Line) -> bool:
    texts = isinstance(line.get("name"), str) and isinstance(line.get("text"), str)
    return texts and _is_count(line.get("iteration"))


def _is_count(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= LARGEST


def in_training(record: Line) -> bool:
    """Whether the run itself measured it, not a later `frame evaluate`."""
    return str(record.get("checkpoint", "iteration")).startswith("iteration")


def remarks(record: Mapping[str, Any]) -> str:
    """Remarks on a record's number: its network, its interval, its bound, and whether it is saturated."""
    interval, bound = record.get("interval"), record.get("bound")
    said = [f"of the {record['network']}"] if record.get("network") else []
    said += [f"95 % {interval[0]:.5g} to {interval[1]:.5g}"] if interval else []
    said += [{"neither": "no bound"}.get(bound, f"{bound} bound")] if bound else []
    said += ["saturated: may be far larger"] if record.get("saturated") else []
    said += ["with newer source than the run's"] if record.get("source") else []
    return "".join(f", {part}" for part in said)
