"""The fast check of records agrees with a simple implementation of the rules."""

import math
from typing import Any

import pytest

from frame.runs.journal import number
from frame.runs.reading import LARGEST, RECORD, is_record
from tests.analysis.by_hand import record

VALUES: list[Any] = [
    *("", "NaN", "Infinity", "-Infinity", "text", None, True, False, 0, -1, 2.5, -0.5, math.nan, math.inf, -math.inf),
    *(1e200, -1e200, LARGEST, 10**400, -(10**400), [], [1], [1, 2], ["NaN", 2.0], [None, 1], [1, 2, 3], {}, {"a": 1}),
]


def judged(line: dict[str, Any]) -> dict[str, Any] | None:
    """The record with its numbers as floats, or None if it is invalid. Checked key by key."""
    found = dict(line)
    for key, value in line.items():
        if key not in RECORD:
            continue
        if type(value) not in RECORD[key]:
            return None
        if type(value) in (int, float) and LARGEST < abs(value) < math.inf:
            return None
        if isinstance(value, str) and RECORD[key] != {str}:
            found[key] = number(value)
            if found[key] is None:
                return None
        if isinstance(value, list):
            found[key] = [number(end) for end in value]
            if len(value) != 2 or None in found[key]:
                return None
    for key in ("name", "value", "iteration"):
        if key not in line:
            return None
    counts = [found["iteration"], found.get("seconds", 0)]
    return found if all(0 <= count <= LARGEST for count in counts) else None


@pytest.mark.parametrize("key", [*RECORD, "unknown"])
def test_each_value_of_a_record_is_checked(key: str) -> None:
    for value in VALUES:
        line: dict[str, Any] = {**record("ELBO/Test", 1.5), key: value}
        expected = judged(line)
        assert is_record(line) == (expected is not None), (key, value)
        if expected is not None:
            assert repr(line) == repr(expected)  # NaN is not equal to itself


@pytest.mark.parametrize("key", list(RECORD))
def test_a_record_needs_only_its_name_value_and_iteration(key: str) -> None:
    line = record("ELBO/Test", 1.5)
    line.pop(key, None)
    assert is_record(line) == (key not in ("name", "value", "iteration"))
