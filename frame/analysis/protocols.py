"""How a number was measured. Numbers are averaged and plotted together only if their protocols are equal."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from frame.common.errors import UserError
from frame.common.numbers import counted

PARTS = ("unit", "split", "estimator", "n_samples", "layer", "checkpoint", "weights")


def protocol(record: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a record that must agree. Square brackets in an estimator's text hold results, such as [C = 0.1]."""
    found = {part: record.get(part) for part in PARTS}
    found["estimator"] = re.sub(r"\s*\[[^\]]*\]", "", str(found["estimator"] or ""))
    if str(found["checkpoint"] or "").startswith("iteration"):  # the newest of training
        found["checkpoint"] = "last"
    return found


def one_protocol(metric: str, records: Sequence[Mapping[str, Any]], but: Sequence[str] = ()) -> dict[str, Any]:
    """The protocol that all these records of a metric share, `but` for these parts.

    Raises:
        UserError: they were measured in several ways; names the first part in which they differ.
    """
    found = [protocol(record) for record in records]
    for part in (part for part in PARTS if part not in but):
        # runs that keep no average have no choice of weights
        values = {str(one[part]) for one in found if one[part] or part not in ("weights", "layer")}
        if len(values) > 1:
            ways = " and ".join(
                f"{part} {value} ({counted(sum(str(one[part]) == value for one in found), 'runs')})"
                for value in sorted(values)
            )
            raise UserError(f"{metric} was measured in several ways, which are not averaged: {ways}")
    kept = sorted({str(one["weights"]) for one in found if one["weights"]})
    some = " where a run keeps them" if kept and not all(one["weights"] for one in found) else ""
    return {**found[0], "weights": f"{kept[0]} weights{some}" if kept else ""}


def said(protocol: Mapping[str, Any], layers: Sequence[str]) -> str:
    """'test, 300 samples, layer mean, last checkpoint: logistic regression'."""
    samples = f"{protocol['n_samples']} samples" if protocol["n_samples"] else ""
    layer = f"layer {' or '.join(layers)}" if any(layers) else ""
    checkpoint = f"{protocol['checkpoint']} checkpoint" if protocol["checkpoint"] else ""
    parts = [
        part
        for part in (str(protocol["split"] or ""), samples, layer, checkpoint, str(protocol["weights"] or ""))
        if part
    ]
    return ", ".join(parts) + (f": {protocol['estimator']}" if protocol["estimator"] else "")
