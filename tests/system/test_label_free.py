"""studies/label_free.py: the drawn configurations, and its table from made-up runs."""

import runpy
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from frame.sweeps.sweep_file import load

STUDIES = Path(__file__).parents[2] / "studies"
STUDY = runpy.run_path(str(STUDIES / "label_free.py"))
STUDY["tau"].__globals__["N_BOOT"] = 100  # quick


def test_the_file_is_what_the_script_draws() -> None:
    assert (STUDIES / "label_free.yml").read_text() == STUDY["draw"]() + "\n"
    variants = load(STUDIES / "label_free.yml").variants
    assert len(variants) == 128 and len(set(variants.values())) == 128
    assert all(len(variants[f"{method}_00"]) == 1 for method in STUDY["METHODS"])


def test_tau_is_kendalls_with_ties() -> None:
    x, y = [1.0, 2.0, 2.0, 3.0, 5.0], [1.0, 3.0, 2.0, 2.0, 4.0]
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(5), 2)]
    counted = sum(a * b for a, b in signs) / np.sqrt(sum(a * a for a, _ in signs) * sum(b * b for _, b in signs))
    found, low, high = STUDY["tau"](x, y)
    assert found == pytest.approx(counted) and low < found < high


def test_a_table_leaves_collapsed_runs_apart() -> None:
    runs = {
        f"SimCLR_{i:02d}": {**dict.fromkeys(STUDY["MEASURES"], float(-i)), "accuracy": 80.0 + i, "floor": 81.0}
        for i in range(6)
    }
    rows = STUDY["table"](
        "SimCLR", runs
    )  # the first run is below the floor; the measures order the others the other way
    assert rows[0] == "| SimCLR | random | | 2.00 |"
    assert rows[1].startswith("| SimCLR | **rankme** | -1.00") and rows[1].endswith("| 4.00 |")
    assert rows[-1] == "| SimCLR | collapsed | 1 of 6 | |"
    assert len(rows) == 7  # the default has collapsed, so it has no row
