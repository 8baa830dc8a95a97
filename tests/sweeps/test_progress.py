"""The best point of a sweep, among points with the same seeds, and not by numbers on test unless allowed."""

from pathlib import Path
from typing import Any

import pytest

from frame.common.errors import UserError
from frame.sweeps.cells import Study
from frame.sweeps.progress import best
from frame.sweeps.sweep_file import parse
from tests.analysis import by_hand


def study(folder: Path, values: dict[float, list[float]], split: str = "valid", goal: str = "maximize") -> Study:
    """A sweep's folder with artificial runs: for each beta one value per seed."""
    plain: dict[str, Any] = {"method": "grid", "metric": {"name": "Final", "goal": goal}}
    swept = parse({**plain, "parameters": {"params.beta": {"values": [*values]}}})
    made = Study(folder, swept, seeds=(1, 2, 3))
    for beta, over_seeds in values.items():
        for seed, value in enumerate(over_seeds, 1):
            records = [by_hand.record("Final", value, split)]
            by_hand.run(folder / "runs" / f"beta={beta},seed={seed}" / "2026-01-01", {"beta": beta}, seed, records)
    return made


@pytest.mark.parametrize(
    ("values", "goal", "name", "n_seeds"),
    [
        ({0.5: [1.0, 1.1, 1.2], 2.0: [9.0]}, "maximize", "beta=0.5", 3),  # one lucky seed
        ({0.5: [1.0, 1.1, 1.2], 2.0: [2.0, 2.1, 2.2]}, "maximize", "beta=2.0", 3),
        ({0.5: [1.0, 1.1, 1.2], 2.0: [2.0, 2.1, 2.2]}, "minimize", "beta=0.5", 3),
        ({0.5: [1.0, 1.1], 2.0: [float("nan"), 2.1, float("inf")]}, "maximize", "beta=0.5", 2),
    ],
)
def test_the_best_of_points_with_the_most_seeds(
    tmp_path: Path, values: dict[float, list[float]], goal: str, name: str, n_seeds: int
) -> None:
    made = study(tmp_path, values, goal=goal)
    try:
        found = best(made)
        assert found is not None and (found[0], found[2]) == (name, n_seeds)
    finally:
        made.worker.close()


def test_numbers_on_test_are_refused_under_any_name(tmp_path: Path) -> None:
    made = study(tmp_path, {0.5: [1.0], 2.0: [2.0]}, split="test")
    try:
        with pytest.raises(UserError, match="metric=Final: it is measured on test"):
            best(made)
        assert best(made, allow_test=True) == ("beta=2.0", 2.0, 1)
    finally:
        made.worker.close()
