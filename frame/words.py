"""What is said of a record; nothing here imports torch."""

from collections.abc import Mapping
from typing import Any


def remarks(record: Mapping[str, Any]) -> str:
    """What is to be known beside a record's number: an interval, a bound, and whether it has reached its limit."""
    interval, bound = record.get("interval"), record.get("bound")
    said = [f"95 % {interval[0]:.5g} to {interval[1]:.5g}"] if interval else []
    said += [{"neither": "no bound"}.get(bound, f"{bound} bound")] if bound else []
    said += ["saturated: there may be far more"] if record.get("saturated") else []
    return "".join(f", {part}" for part in said)
