"""What came out of made-up studies, in sentences."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from frame.analysis.compare import compare
from frame.analysis.conclusions import _above, sentences
from frame.runs.listing import find
from tests.analysis.by_hand import record, run

Values = Mapping[str, Sequence[float]]


def said(folder: Path, values: Mapping[str, Values], floors: Mapping[str, float] = {}, **more: Any) -> list[str]:
    """The sentences on metrics, each with values of each model over seeds."""
    models = {model for found in values.values() for model in found}
    for model in models:
        for seed in range(max(len(found[model]) for found in values.values())):
            records = [record(name, found[model][seed], **more) for name, found in values.items()]
            records += [record(f"a/floor/{floor}", value, **more) for floor, value in floors.items()]
            run(folder / f"{model}_{seed}", {"beta": 1.0}, seed, records, model=model)
    return sentences(compare(find([folder]), ["model"], [*values], columns=[], allow_test=True))


WINS = {"x": [9.0, 9.2, 9.1, 9.3], "y": [5.0, 5.3, 5.1, 5.4], "z": [1.0, 1.5, 1.1, 1.2]}
TIES = {"x": [9.0, 5.0, 7.0, 8.0], "y": [8.0, 6.0, 6.5, 7.0], "z": [1.0, 1.5, 1.1, 1.2]}


def test_a_winner_is_better_than_each_other_with_the_largest_p(tmp_path: Path) -> None:
    asked, answer, beside = said(tmp_path, {"a": WINS})
    assert asked == "Asked: which model (x, y or z) has the largest a? 12 finished runs, 4 runs each."
    assert answer.startswith(
        "x has the best mean, 9.15 ± 0.21 nats per picture, and is better than each of the 2 others"
    )
    p = float(answer.partition("p ≤ ")[2].partition(",")[0])
    assert 0 < p < 0.05
    assert beside == "No other metric and no floor was measured: frame evaluate adds both."


def test_without_a_winner_the_nearest_is_named(tmp_path: Path) -> None:
    _, answer, _ = said(tmp_path, {"a": TIES})
    assert answer.startswith("No winner: x has the best mean") and "but y is not significantly worse (-0.4 ± " in answer
    assert "p = " in answer


def test_one_seed_is_no_ranking(tmp_path: Path) -> None:
    asked, answer, _ = said(tmp_path, {"a": {"x": [2.0], "y": [1.0]}})
    assert asked.endswith("2 finished runs, 1 run each.")
    assert answer.startswith("x has the best mean, 2 nats per picture, before 1 nats per picture (y)")
    assert answer.endswith("this is no ranking.")


def test_less_is_better(tmp_path: Path) -> None:
    asked, answer, _ = said(tmp_path, {"a": WINS}, better="less")
    assert "has the smallest a?" in asked and answer.startswith("z has the best mean")


def test_a_metric_without_a_direction_has_a_range(tmp_path: Path) -> None:
    asked, answer, _ = said(tmp_path, {"a": WINS}, better="")
    assert asked.startswith("Asked: how does a depend on model (x, y or z)?")
    assert answer == (
        "a goes from 1.20 ± 0.34 nats per picture (z) to 9.15 ± 0.21 nats per picture (x); neither more nor less of it "
        "is better."
    )


def test_other_metrics_and_floors_are_one_sentence(tmp_path: Path) -> None:
    *_, beside = said(tmp_path, {"a": WINS, "b": WINS, "c": TIES}, floors={"pixels": 4.0, "pca": 4.5})
    assert beside == (
        "Of the other metrics, x wins in b, no setting wins in c; 2 of 3 settings beat the best floor in a (pca, 4.5 "
        "nats per picture), with their whole interval."
    )


def test_one_setting_is_no_comparison(tmp_path: Path) -> None:
    asked, answer, _ = said(tmp_path, {"a": {"x": [1.0, 2.0]}})
    assert asked == "One setting was trained, x: 2 finished runs."
    assert answer.startswith("x has a 1.5 ± 6.4 nats per picture")


@pytest.mark.parametrize("p", [0.0123, 0.05, 1.0, 3.21e-7, 0.0999])
def test_a_bound_on_p_is_rounded_up(p: float) -> None:
    assert p <= float(_above(p)) * (1 + 1e-9) and float(_above(p)) <= 1.11 * p
    assert not math.isnan(float(_above(0.0)))
