"""Schedules: their closed forms, lengths in every unit, and errors."""

import math
from typing import Any

import pytest

from frame.common.durations import Duration, RunLength
from frame.common.errors import UserError
from frame.common.schedules import (
    Coefficient,
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    Linear,
    Logistic,
    Stages,
    changes,
    coefficient,
)

COUNTERS = ("iterations", "epochs", "seconds", "samples", "updates", "moves")


def run(limit: str = "10 epochs", step: int = 1, cut: bool = False) -> RunLength:
    """A run of 10 epochs of 20 batches with 8 rows."""
    amount, counter = limit.split()
    per = {"iterations": 1.0, "epochs": 20.0, "updates": float(step), "samples": 1 / 8}
    return RunLength((Duration(float(amount), counter),), per, COUNTERS, step, cut)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (Constant(2.0), [2, 2, 2]),
        (Constant(2.0, warmup="4 iterations"), [0.5, 1, 1.5, 2, 2]),
        (Linear(0.0, 2.0, "4 iterations"), [0, 0.5, 1, 1.5, 2, 2, 2]),
        (Linear(1.0, 0.0, "2 iterations", after="2 iterations"), [1, 1, 1, 0.5, 0, 0, 0]),
        (Linear(1.0, 0.0, "2 iterations", warmup="2 iterations", after="1 iteration"), [0.5, 1, 1, 1, 0.5, 0, 0]),
        (Exponential(1e-3, 1.0, "3 iterations"), [1e-3, 1e-2, 1e-1, 1, 1, 1, 1]),
        (Exponential(1.0, 0.25, "4 iterations", every="2 iterations"), [1, 1, 0.5, 0.5, 0.25, 0.25]),
        (Cosine(0.0, 1.0, "4 iterations"), [0, (1 - 0.5**0.5) / 2, 0.5, (1 + 0.5**0.5) / 2, 1, 1, 1]),
        (Logistic(0.0, 2.0, "2 iterations"), [0, *[4 / (1 + math.exp(-10 * p)) - 2 for p in (0.5, 1, 1)]]),
        (Cosine(1.0, 0.0, "4 iterations", warmup="1 iterations"), [1, 1, 0.853553, 0.5, 0.146447, 0]),
        (Cyclic(0.0, 1.0, "4 iterations"), [0, 0.5, 1, 1, 0, 0.5, 1]),
        (Cyclic(0.0, 1.0, "4 iterations", rise=1.0), [0, 0.25, 0.5, 0.75, 0, 0.25, 0.5]),
        (Stages(2.0, [1, 0.5, 0.1], ["2 iterations", "3 iterations"]), [2, 2, 1, 0.2, 0.2]),
        (Stages(2.0, [1, 0.5], ["1 iterations"], warmup="2 iterations"), [1, 2, 2, 1, 1]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Coefficient) else "",
)
def test_shapes_against_values_by_hand(schedule: Coefficient, values: list[float]) -> None:
    for iteration, value in enumerate(values):
        schedule.advance({"iterations": iteration})
        assert schedule().item() == pytest.approx(value, abs=1e-6), iteration


@pytest.mark.parametrize(
    "lengths",
    [
        ("20 iterations", "80 iterations"),
        ("1 epoch", "4 epochs"),
        ("160 samples", "640 samples"),
        ("20 updates", "80 updates"),
        ("10%", "40%"),
        ("1/10 of the run", "40% of the run"),
        ("1 epoch", "40 %"),  # they may differ
    ],
)
def test_lengths_of_any_unit_are_the_same(lengths: tuple[str, str]) -> None:
    after, over = lengths
    schedule = Linear(1.0, 0.0, over, after=after)
    schedule.bind(run(), "beta")
    assert schedule.counter == "iterations" and schedule.counts == {"after": 20, "over": 80}
    assert [schedule.now({"iterations": i}) for i in (19, 20, 60, 100, 199)] == [1, 1, 0.5, 0, 0]


def test_without_a_length_it_takes_the_rest_of_the_run() -> None:
    schedule = Cosine(1.0, 0.0, warmup="5%", after="1 epoch")
    assert schedule.follows_the_run
    schedule.bind(run(), "lr")
    assert schedule.counts == {"warmup": 10, "after": 20, "over": 170}
    schedule.bind(run("20 epochs"), "lr")  # a longer run makes it longer
    assert schedule.counts == {"warmup": 20, "after": 20, "over": 360}


def test_a_third_of_a_run_is_a_whole_number_of_iterations() -> None:
    schedule = Linear(0.0, 1.0, "2/3 of the run")
    schedule.bind(run("3150 iterations"), "beta")
    assert schedule.counts["over"] == 2100


def test_a_warm_up_counts_optimizer_steps() -> None:
    schedule = Constant(1.0, warmup="8 iterations")
    schedule.bind(run(step=4), "lr")
    assert [schedule.now({"iterations": i}) for i in (0, 4, 8)] == [0.5, 1, 1]


def test_seconds_belong_to_a_run_of_seconds() -> None:
    schedule = Linear(1.0, 0.0, "30 seconds")
    schedule.bind(run("60 seconds"), "lr")
    assert schedule.now({"seconds": 15.0}) == 0.5
    share = Linear(1.0, 0.0, "50%")
    share.bind(run("60 seconds"), "lr")
    assert share.now({"seconds": 15.0}) == 0.5
    with pytest.raises(UserError, match=r"lr.over=30 seconds depends on the machine's speed.*write '10 epochs'"):
        schedule.bind(run("10 epochs"), "lr")


def test_a_limit_in_seconds_beside_one_in_epochs_changes_no_schedule() -> None:
    limits = (Duration(3600, "seconds"), Duration(10, "epochs"))
    schedule = Linear(1.0, 0.0, "50%")
    schedule.bind(RunLength(limits, run().iterations, COUNTERS), "lr")
    assert schedule.counts == {"over": 100}


WRONG: list[tuple[Any, str]] = [
    (lambda: Linear(0.0, 1.0, "5"), "not a duration.*5%"),
    (lambda: Linear(0.0, 1.0, "-5 epochs"), "negative"),
    (lambda: Linear(0.0, 1.0, "-5%"), "above 0"),
    (lambda: Linear(0.0, 1.0, "0 epochs"), "above 0"),
    (lambda: Linear(0.0, 1.0, "0%"), "above 0"),
    (lambda: Linear(0.0, 1.0, "120%"), "over=120% is more than the whole run"),
    (lambda: Linear(0.0, 1.0, "4/3 of the run"), "more than the whole run"),
    (lambda: Linear(0.0, 1.0, "5 epoks").bind(run(), "beta"), "no unit 'epoks': did you mean 'epochs'"),
    (lambda: Linear(0.0, 1.0, "5 epoks").advance({"iterations": 1}), "no unit 'epoks'"),
    (lambda: Linear(0.0, 1.0, "5%").advance({"iterations": 1}), "bind"),
    (lambda: Linear(0.0, 1.0, "5 moves", after="1 epoch").bind(run(), "beta"), "beta.*iterations and moves"),
    (lambda: Linear(0.0, 1.0, "11 epochs").bind(run(), "beta"), "beta lasts 220 iterations, and the run 200: .*cut"),
    (lambda: Linear(0.0, 1.0, "60%", after="60%").bind(run(), "beta"), "beta lasts 240 iterations"),
    (lambda: Linear(0.0, 1.0, after="200 iterations").bind(run(), "beta"), "beta lasts 201"),
    (lambda: Constant(1.0, "11 epochs").bind(run(), "lr"), "lr lasts 220"),
    (lambda: Stages(1.0, [1, 2], ["11 epochs"]).bind(run(), "lr"), "lr lasts 220"),
    (
        lambda: Stages(1.0, [1, 2, 3], ["2 epochs", "20 iterations"]).bind(run(), "lr"),
        "lr: ends=.*above the one before",
    ),
    (lambda: Stages(1.0, [1, 2], ["2 epochs", "20 iterations"]), "one factor more than ends"),
    (lambda: Exponential(1.0, 0.0, "5 epochs"), "both must be above 0"),
    (lambda: Exponential(-1.0, 1.0, "5 epochs"), "both must be above 0"),
    (lambda: Cyclic(0.0, 1.0, "5 epochs", rise=0.0), "rise"),
    (lambda: coefficient("weight", Linear(1.0, -1.0, "5 epochs")), "weight=-1: it must be at least 0"),
    (lambda: coefficient("weight", "much"), "give a number, or a schedule"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("wrong", "says"), WRONG, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_errors_are_one_line(wrong: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_a_shorter_run_may_cut_them() -> None:
    for schedule in (Linear(0.0, 1.0, "11 epochs"), Linear(0.0, 1.0, after="11 epochs"), Constant(1.0, "11 epochs")):
        schedule.bind(run(cut=True), "beta")
        assert 0 <= schedule.now({"iterations": 199}) < 1 or isinstance(schedule, Linear)


def test_no_length_is_no_warm_up() -> None:
    for none in ("0 epochs", "0%", "0.0 seconds"):
        schedule = Linear(1.0, 0.0, "4 iterations", warmup=none, after=none)
        schedule.bind(run(), "lr")
        assert [schedule.now({"iterations": i}) for i in (0, 2, 4)] == [1, 0.5, 0]


def test_changing_values_are_distinguished_from_constant_ones() -> None:
    assert changes(Linear(0.0, 1.0)) and changes([0.9, Linear(0.9, 0.99)]) and changes(Constant(1.0, "5%"))
    assert not changes(Constant(1.0)) and not changes(0.5) and not changes([0.9, 0.99])
