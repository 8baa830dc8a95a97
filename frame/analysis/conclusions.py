"""What a study asked and what came out, in three sentences made from its tests."""

import math
from collections.abc import Sequence

from frame.analysis.compare import Comparison
from frame.analysis.intervals import LEVEL, shown, spread
from frame.analysis.rows import Row, ranked_rows
from frame.common.numbers import counted

MOST_NAMES = 6  # values of a key that a sentence lists


def sentences(comparison: Comparison) -> list[str]:
    """Three sentences: the question, the answer by the first metric, and what other metrics and floors say of it."""
    metric = comparison.metrics[0]
    have = [row for row in comparison.rows if metric in row.samples]
    return [_asked(comparison, metric), _answer(comparison, metric, have), _beside(comparison, metric, have)]


def _asked(comparison: Comparison, metric: str) -> str:
    names = [key.removeprefix("params.") for key in comparison.keys]
    runs = [run for row in comparison.rows for run in row.runs]
    seeds = sorted({len(row.runs) for row in comparison.rows})
    each = f"{counted(seeds[0], 'runs')} each" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} runs each"
    if len(comparison.rows) == 1:
        return f"One setting was trained, {comparison.rows[0].name}: {counted(len(runs), 'finished runs')}."
    if len(names) == 1 and len(comparison.rows) <= MOST_NAMES:
        which = f"{names[0]} ({_listed([row.name for row in comparison.rows], 'or')})"
    else:
        which = f"of {counted(len(comparison.rows), 'settings')} of {_listed(names, 'and')}"
    asks = {"more": "has the largest", "less": "has the smallest"}.get(comparison.better[metric])
    question = f"which {which} {asks} {metric}" if asks else f"how does {metric} depend on {which.removeprefix('of ')}"
    return f"Asked: {question}? {counted(len(runs), 'finished runs')}, {each}."


def _answer(comparison: Comparison, metric: str, have: Sequence[Row]) -> str:
    unit = comparison.units[metric]
    if not have:
        return f"No run has a finite number of {metric}."
    if len(have) == 1:
        return f"{_named(comparison, have[0])} has {metric} {_value(have[0], metric, unit)}."
    ranked = ranked_rows(have, metric, comparison.better[metric])
    first, second = ranked[0], ranked[1]
    if not comparison.better[metric]:
        return (
            f"{metric} goes from {_value(ranked[-1], metric, unit)} ({_named(comparison, ranked[-1])}) to "
            f"{_value(first, metric, unit)} ({_named(comparison, first)}); neither more nor less of it is better."
        )
    leads = f"{_named(comparison, first)} has the best mean, {_value(first, metric, unit)}"
    others = [(row, row.differences[metric]) for row in ranked[1:]]
    if metric in first.bold:
        largest = max(one.p for _, one in others)
        than = f"the other, {_named(comparison, second)}" if len(others) == 1 else f"each of the {len(others)} others"
        return f"{leads}, and is better than {than} (p ≤ {_above(largest)}, after Holm over all pairs)."
    if all(math.isnan(one.p) for _, one in others):
        return (
            f"{leads}, before {_value(second, metric, unit)} ({_named(comparison, second)}), but with so few seeds "
            "nothing can be tested: this is no ranking."
        )
    near = [row for row, one in others if not one.p < 1 - LEVEL]
    who = f"{_named(comparison, near[0])} is not significantly worse"
    if len(near) == len(others) > 1:
        who = f"none of the {len(others)} others is significantly worse, such as {_named(comparison, near[0])}"
    elif len(near) > 1:
        who = f"{len(near)} of {len(others)} others, such as {_named(comparison, near[0])}, are not significantly worse"
    one = near[0].differences[metric] if near else others[0][1]
    p = f", p = {one.p:.2g}" if not math.isnan(one.p) else ""
    return f"No winner: {leads}, but {who} ({spread(one.mean, one.half, '+')}{p})."


def _beside(comparison: Comparison, metric: str, have: Sequence[Row]) -> str:
    """What the other metrics say, and whether the codes beat their floors."""
    parts = [*_others(comparison, metric), *_floors(comparison)]
    if not parts:
        return "No other metric and no floor was measured: frame evaluate adds both."
    return f"{'; '.join(parts)}."


def _others(comparison: Comparison, metric: str) -> list[str]:
    rest = [name for name in comparison.metrics[1:] if comparison.better[name] and len(comparison.rows) > 1]
    if not rest:
        return []
    winners: dict[str, list[str]] = {}
    for name in rest:
        row = next((row for row in comparison.rows if name in row.bold), None)
        winners.setdefault(_named(comparison, row) if row is not None else "", []).append(name)
    undecided = winners.pop("", [])
    found = [f"{who} wins in {_listed(names, 'and')}" for who, names in winners.items()]
    if undecided:
        found.append(f"no setting wins in {_listed(undecided, 'or')}")
    return [f"Of the other metrics, {', '.join(found)}" if len(rest) > 1 else found[0][0].upper() + found[0][1:]]


def _floors(comparison: Comparison) -> list[str]:
    """How many rows lie above the best floor, by the first metric that has floors."""
    for metric in comparison.metrics:
        there = {floor: samples[metric] for floor, samples in comparison.floors.items() if metric in samples}
        have = [row for row in comparison.rows if metric in row.samples]
        if not there or not have or not comparison.better[metric]:
            continue
        less = comparison.better[metric] == "less"
        floor = min(there, key=lambda name: there[name].mean * (1 if less else -1))
        limit = there[floor].mean
        ends = [row.samples[metric] for row in have]
        tested = all(not math.isnan(one.half) for one in ends)
        beats = [(one.high < limit) if less else (one.low > limit) for one in ends if not math.isnan(one.half)]
        if not tested:
            beats = [(one.mean < limit) if less else (one.mean > limit) for one in ends]
        value = f"{shown(there[floor])} {comparison.units[metric]}".rstrip()
        how = "with their whole interval" if tested else "untested"
        of = f"{sum(beats)} of {counted(len(have), 'settings')}"
        return [f"{of} beat the best floor in {metric} ({floor}, {value}), {how}"]
    return []


def _named(comparison: Comparison, row: Row) -> str:
    """'beta=4', or the value alone if it says what it is, such as the name of an experiment."""
    pairs = [(key, value) for key, value in zip(comparison.keys, row.label, strict=True) if value != "None"]
    return ", ".join(f"{key.removeprefix('params.')}={value}" if _is_number(value) else value for key, value in pairs)


def _is_number(text: str) -> bool:
    return text in ("True", "False") or text[:1] in "[{" or text.lstrip("+-.")[:1].isdigit()


def _value(row: Row, metric: str, unit: str) -> str:
    return f"{shown(row.samples[metric])} {unit}".rstrip()


def _above(p: float) -> str:
    """P rounded up to two digits, since it is a bound."""
    if p <= 0:
        return "1e-300"
    digits = 1 - math.floor(math.log10(p))
    return f"{math.ceil(p * 10**digits - 1e-9) / 10**digits:.2g}"


def _listed(names: Sequence[str], word: str) -> str:
    few = [*names[:MOST_NAMES]] + ([f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else [])
    return few[0] if len(few) == 1 else f"{', '.join(few[:-1])} {word} {few[-1]}"
