"""studies/label_free.py: the drawn configurations, and its tables from made-up runs."""

from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from frame.runs.listing import find, summaries
from frame.sweeps.sweep_file import load
from studies import label_free
from studies.label_free import MEASURES, METHODS, WEIGHTS, draw, interval, lost, lost_at_random, measured, table, tau
from tests.analysis.by_hand import record, run

STUDY = Path(label_free.__file__).with_suffix(".yml")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_free, "N_BOOT", 200)


def test_the_file_is_what_the_script_draws() -> None:
    assert STUDY.read_text() == draw() + "\n"
    variants = load(STUDY).variants
    assert len(variants) == 128 and len(set(variants.values())) == 128
    assert [*variants][:4] == [f"{method}_00" for method in METHODS]  # so that run_cap=16 has four of each
    assert all(len(variants[f"{method}_00"]) == 1 for method in METHODS)


def test_weights_have_few_values_so_that_losses_can_be_compared() -> None:
    for method in METHODS:
        words = [set(w) for name, w in load(STUDY).variants.items() if name.startswith(method)]
        groups = Counter(tuple(sorted(x for x in w if x.startswith(WEIGHTS[method] or ("none",)))) for w in words)
        assert len(groups) <= 6 and sum(n >= 3 for n in groups.values()) >= (3 if WEIGHTS[method] else 0), groups


def test_tau_is_kendalls_with_ties() -> None:
    x, y = [1.0, 2.0, 2.0, 3.0, 5.0], [1.0, 3.0, 2.0, 2.0, 4.0]
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(5), 2)]
    counted = sum(a * b for a, b in signs) / np.sqrt(sum(a * a for a, _ in signs) * sum(b * b for _, b in signs))
    assert tau(x, y, [0] * 5) == pytest.approx(counted) == pytest.approx(kendalltau(x, y).statistic)
    low, high = interval(x, y, [0] * 5)
    assert low < counted < high <= 1


def test_tau_counts_pairs_of_one_group_alone() -> None:
    x, y = [1.0, 2.0, 11.0, 12.0], [8.0, 9.0, 1.0, 2.0]  # each group is in order, and the groups are not
    assert tau(x, y, "aabb") == 1.0 and tau(x, y, "aaaa") < 0
    assert np.isnan(tau(x, y, "abcd"))


def test_what_a_choice_loses() -> None:
    accuracy = [80.0, 90.0, 70.0, 60.0, 50.0]
    assert lost([1.0, 3.0, 2.0, 0.0, 0.0], accuracy, "aaaaa") == 0
    assert lost([3.0, 1.0, 2.0, 0.0, 0.0], accuracy, "aaaaa") == 10
    assert lost([3.0, 1.0, 3.0, 0.0, 0.0], accuracy, "aaaaa") == 15  # two with the same measure: their mean
    assert lost([3.0, 1.0, 2.0, 0.0, 9.0], accuracy, "aaabb") == pytest.approx((3 * 10 + 2 * 10) / 5)
    assert lost_at_random(accuracy, "aaaaa") == 20 and lost_at_random(accuracy, "aaabb") == pytest.approx((30 + 10) / 5)


def made_up(n: int, **more: Any) -> dict[str, dict[str, Any]]:
    """Runs whose accuracies rise and whose measures fall; the first has collapsed."""
    return {
        f"SimCLR_{i:02d}": {
            **dict.fromkeys(MEASURES, float(-i)),
            "accuracy": 80.0 + i,
            "floor": 81.0,
            "weights": (),
            **more,
        }
        for i in range(n)
    }


def test_a_table_leaves_collapsed_runs_apart() -> None:
    rows = table("SimCLR", made_up(6))
    assert rows[0] == "| SimCLR | oracle: 85.00 % | | 0.00 | |"
    assert rows[1] == "| SimCLR | random | | 2.00 | |"  # the default has collapsed, so it has no row
    assert rows[2].startswith("| SimCLR | **rankme** | -1.00") and rows[2].endswith("| 4.00 |  |")
    assert rows[-1] == "| SimCLR | collapsed | 1 of 6 | | |" and len(rows) == 3 + len(MEASURES)
    assert table("SimCLR", made_up(3, accuracy=1.0)) == ["| SimCLR | collapsed | 3 of 3 | | |"]


def test_a_measure_that_knows_loses_nothing_and_one_of_noise_has_no_tau() -> None:
    random = np.random.default_rng(0)
    runs = made_up(32, floor=0.0)
    for run_, noise in zip(runs.values(), random.normal(size=32), strict=True):
        run_ |= {"rankme": run_["accuracy"], "lidar": float(noise)}
    rows = table("SimCLR", runs)
    assert "| default | | 31.00 |" in rows[1] and "| random | | 15.50 |" in rows[2]
    (oracle,) = [row for row in rows if "rankme" in row]
    assert "1.00 (1.00 to 1.00) | 0.00 |" in oracle
    low, high = interval(
        [run_["lidar"] for run_ in runs.values()], [run_["accuracy"] for run_ in runs.values()], [0] * 32
    )
    assert low < 0 < high


def test_a_loss_counts_within_equal_weights() -> None:
    runs = made_up(8, floor=0.0)
    for i, run_ in enumerate(runs.values()):  # within a weight the loss knows; its size depends on the weight
        run_ |= {"weights": (str(i // 4),), "loss": run_["accuracy"] - 100 * (i // 4)}
    (loss,) = [row for row in table("SimCLR", runs) if "| loss |" in row]
    assert "1.00 (1.00 to 1.00) | 0.00 | within 2 groups of equal weights, random 1.50 |" in loss


def test_runs_are_read_with_their_weights(tmp_path: Path) -> None:
    names = {name: sign for name, sign in MEASURES.values()}
    numbers = [record(name, 2.0) for name in names] + [
        record(label_free.ACCURACY, 80.0),
        record(label_free.FLOOR, 70.0),
    ]
    for i, (records, state) in enumerate([(numbers, "finished"), (numbers[1:], "finished"), (numbers, "stopped")]):
        run(tmp_path / f"{i}", {"temperature": 0.5}, 1, records, state, experiment_name=f"variant=SimCLR_{i:02d}")
    by_method, others = measured(summaries(find([tmp_path])))
    assert [*by_method["SimCLR"]] == ["SimCLR_00"] and len(others) == 2
    assert others[0].endswith("is left out: it lacks geometry/Train/features/rankme") and others[1].endswith(
        "it is stopped"
    )
    only = by_method["SimCLR"]["SimCLR_00"]
    assert only["weights"] == ("0.5",) and only["accuracy"] == 80 and only["loss"] == -2 and only["lidar"] == 2
