"""studies/collapse.py: what a run was, what the doctor says of it, and how both are counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from frame.composition.compose import compose
from frame.runs.folder import RunFolder
from studies import collapse
from studies.collapse import (
    LOOKS,
    Verdict,
    accuracy,
    choose,
    counts,
    doctor_of,
    drawn,
    judged,
    labelled,
    read,
    report,
    since,
    standing,
    train,
    trained,
)
from tests.processes import Process, only_run

DIAGNOSES = collapse.DIAGNOSES


def course(accuracies: Sequence[float], spreads: Sequence[float], repeatability: float = 0.8) -> dict[str, Any]:
    """A run with these numbers at evenly spread looks, and straight lines between them."""

    def at(values: Sequence[float], look: int) -> float:
        place = look / LOOKS * (len(values) - 1)
        low = min(int(place), len(values) - 2)
        return values[low] + (place - low) * (values[low + 1] - values[low])

    looks = []
    for look in range(LOOKS + 1):
        found = {"spread": at(spreads, look), "repeatability": repeatability, "backbone_spread": 0.3}
        looks.append(found | ({"accuracy": at(accuracies, look)} if look % 2 == 0 else {}))
    return {"name": "A/usual/SimCLR_01", "looks": looks}


def verdict(onset: int | None, reported: Sequence[int], meant: bool = False, halfway: int | None = None) -> Verdict:
    return Verdict("A/usual/X_01", meant, onset, ("accuracy",), halfway, tuple(reported))


@pytest.mark.parametrize(
    ("values", "first"),
    [([3, 1, 1, 1], 1), ([1, 1, 1, 1], 0), ([3, 1, 3, 1], 3), ([1, 1, 1, 3], None)],
)
def test_since_is_the_first_look_from_which_on_it_holds_for_good(values: list[float], first: int | None) -> None:
    assert since({2 * number: value for number, value in enumerate(values)}, lambda value: value < 2) == (
        None if first is None else 2 * first
    )


def test_a_run_has_collapsed_by_its_end_and_not_by_what_lies_between() -> None:
    dips = judged(course([0.6, 0.3, 0.7], [0.8, 0.05, 0.8]), doctor_of(2, 2), DIAGNOSES)
    assert dips.onset is None and dips.by == ()
    falls = judged(course([0.6, 0.8, 0.4], [0.8, 0.8, 0.8]), doctor_of(2, 2), DIAGNOSES)
    # 0.8 at look 50, 0.6 at look 75, 0.4 at look 100; the first measured look below 0.6, and below 0.5
    assert (falls.onset, falls.halfway, falls.by) == (76, 88, ("accuracy",))
    narrow = judged(course([0.6, 0.7, 0.7], [0.8, 0.8, 0.0]), doctor_of(2, 2), DIAGNOSES)
    assert (narrow.onset, narrow.halfway, narrow.by) == (94, None, ("spread",))  # 0.8 (100 - look) / 50 < 0.1


def test_a_collapse_is_found_if_a_report_stands_within_five_looks_of_its_onset() -> None:
    for reported, found, delay in (
        ([20, 21, 22], True, 0),
        ([25, 26], True, 5),
        ([26, 27], False, 6),
        ([10, 11, 12], False, None),  # it was over before
        ([15, 16, 17, 18, 19, 20, 21], True, -5),
        ([], False, None),
    ):
        one = verdict(20, reported)
        assert (one.found(one.onset), one.delay) == (found, delay), reported


def test_counts() -> None:
    found = counts(
        [
            verdict(20, [22]),
            verdict(20, [40], halfway=38),
            verdict(20, [90], meant=True, halfway=38),
            verdict(20, []),
            verdict(None, []),
            verdict(None, [5]),
            verdict(None, [5], meant=True),
        ]
    )
    assert found == {
        "collapses": 4,
        "found": 1,
        "found, from halfway": 2,
        "reported": 3,
        "healthy": 2,
        "false alarms": 1,
        "spared": 1,
        "spared and reported": 1,
    }


def test_the_doctor_reports_a_signal_that_falls_and_none_that_rises_again() -> None:
    end = [0.6, 0.7]
    assert not [*standing(course(end, [0.05, 0.5, 0.9])["looks"], doctor_of(2, 2), DIAGNOSES)]
    # at 0.7 of the most, 0.56, after look 30; judged twice in a row
    fallen = [*standing(course(end, [0.8, 0.0])["looks"], doctor_of(2, 2), DIAGNOSES)]
    assert fallen == list(range(32, LOOKS + 1))
    back = [*standing(course(end, [0.8, 0.4, 0.8])["looks"], doctor_of(2, 2), DIAGNOSES)]
    assert back[0] == 32 and 50 < back[-1] < 55  # it is over as soon as it rises


def test_the_doctor_reports_features_that_become_worse_than_untrained_ones() -> None:
    run = course([0.6, 0.7], [0.8, 0.8])
    for look, signs in enumerate(run["looks"]):
        signs["told_apart"] = 0.7 - 0.01 * look
    # lower by more than 0.08 from look 9 on; eight judgements in a row
    assert [*standing(run["looks"], doctor_of(), DIAGNOSES)] == list(range(16, LOOKS + 1))
    for look, signs in enumerate(run["looks"][20:], start=20):
        signs["told_apart"] = 0.5 + 0.01 * (look - 20)  # rises, by look 22 above look 20
    assert [*standing(run["looks"], doctor_of(), DIAGNOSES)] == list(range(16, 29))


def test_accuracy_is_that_of_a_slow_loop() -> None:
    torch.manual_seed(0)
    y = torch.arange(60) % 3
    features = torch.randn(60, 4) + 2 * torch.nn.functional.one_hot(y, 4)
    rows = labelled(y, n_labels=2, n_draws=3)
    assert rows.shape == (3, 3, 2) and all((y[rows[:, c]] == c).all() for c in range(3))
    z = torch.nn.functional.normalize(features - features.mean(0), dim=1)
    right = 0
    for draw in rows:
        means = [z[few].mean(0) for few in draw]
        for row, label in zip(z, y, strict=True):
            cosines = [torch.cosine_similarity(row, mean, dim=0).item() for mean in means]
            right += cosines.index(max(cosines)) == label
    assert accuracy(features, y, rows) == pytest.approx(right / 180)


def test_the_sets_are_drawn_beforehand_and_share_no_run() -> None:
    a, b, *more = (dict(drawn(which)) for which in collapse.N)
    assert len(a) == 103 and all(len(runs) == 456 for runs in (b, *more))
    every = [tuple(words) for runs in (a, b, *more) for words in runs.values()]
    assert len({*every}) == len(every)
    quarter = [*b][:114]  # has its share of both kinds, so that a study that is stopped can be judged
    assert 30 <= sum("/collapsing/" in name for name in quarter) <= 45
    for name in [name for name in a if name.endswith("_01")]:
        compose(a[name])


@pytest.mark.slow
def test_the_doctor_in_a_run_says_what_it_says_of_the_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = dict(drawn("A"))["A/collapsing/SimSiam_without_predictor_01"]
    looks = trained(words)["looks"]
    first = min(standing(looks, doctor_of(), DIAGNOSES))
    doctor = ["doctor.check_every=1%", f"doctor.patience={collapse.PATIENCE}", "doctor.share=1"]
    process = Process(["train", *(word for word in words if word != "doctor=null"), *doctor], tmp_path)
    assert process.wait() == 0, process.output
    said = [one for one in RunFolder.existing(only_run(tmp_path)).diagnoses if one["name"] == "collapse of embeddings"]
    assert said[0]["iteration"] == first * collapse.ITERATIONS // LOOKS
    assert said[0]["signs"]["spread"] == pytest.approx(looks[first]["spread"], abs=1e-4)

    monkeypatch.setattr(collapse, "drawn", lambda which: iter([(f"{which}/collapsing/X_01", words)]))
    file = tmp_path / "runs.jsonl"
    train("A", file, 0, 1)
    train("A", file, 0, 1)  # has nothing left to do
    assert [run["looks"] for run in read([file])] == [looks]
    report(read([file]), collapse.PATIENCE)
    assert "| X | 1 | 1 | 1 |" in capsys.readouterr().out
    monkeypatch.setattr(collapse, "courses", lambda: iter([collapse.Choice(collapse.Course())]))
    monkeypatch.setattr(collapse, "losses", lambda: iter([collapse.Choice(collapse.Lost(), times=2)]))
    choose(read([file]))
    assert capsys.readouterr().out.count("'collapses': 1") == 2
