"""Evaluations do not change training; measurements are events that are consumed once, by count and not by epoch."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest
import torch

import frame
from frame.callbacks.base import Measurement, Monitor
from frame.callbacks.checkpoints import read
from tests.processes import only_run, train
from tests.system.test_resume import same

SCRIPT = "callbacks.script={{_target_: frame.callbacks.EvaluationCallback, name: Score, evaluate_every: {every}, evaluator: {{_target_: toys.Scripted, values: {values}}}}}"  # noqa: E501


def scripted(values: list[float], every: str = "5 iterations") -> str:
    return "+" + SCRIPT.format(every=every, values=values)


def test_evaluations_every_iteration_and_none_end_in_the_same_weights(tmp_path: Path) -> None:
    states = []
    for name, words in {
        "watched": [
            "callbacks.elbo_valid.evaluate_every=1 iteration",
            "+callbacks.rude={_target_: frame.callbacks.EvaluationCallback, name: Rude, evaluate_every: 1 iteration,"
            " evaluator: {_target_: toys.Failing, fails_from: 20}}",
        ],
        "alone": ["callbacks=null"],
    }.items():
        cwd = tmp_path / name
        cwd.mkdir()
        code, output = train(["experiment=tiny", "optimization.average=0.9", *words], cwd)
        assert code == 0, output
        states.append(read(only_run(cwd) / "checkpoints" / "last.ckpt"))
    for key in ("model", "average", "players"):
        assert same(states[0][key], states[1][key])


def test_a_late_failure_is_reported_and_does_not_end_the_run(tmp_path: Path) -> None:
    rude = (
        "+callbacks.rude={_target_: frame.callbacks.EvaluationCallback, name: Rude, evaluate_every: 10 iterations,"
        " evaluator: {_target_: toys.Failing, fails_from: 4}}"
    )
    code, output = train(["experiment=tiny", rude], tmp_path)
    assert code == 0, output
    assert "Rude failed at iteration 20" in output and "this evaluator fails on purpose" in output
    status = json.loads((only_run(tmp_path) / "status.json").read_text())
    assert status["state"] == "finished" and "iteration" in status["troubles"]["Rude"]


def test_evaluations_without_a_number_are_reported_once_and_do_not_end_the_run(tmp_path: Path) -> None:
    collapsed = (
        "+callbacks.flat={_target_: frame.callbacks.EvaluationCallback, name: Flat, evaluate_every: 10 iterations,"
        " evaluator: {_target_: toys.Collapsed, until: 4}}"
    )
    code, output = train(["experiment=tiny", collapsed], tmp_path)
    assert code == 0, output
    assert output.count("Flat has no number at iteration 0; training goes on: all codes are equal") == 1
    assert "Flat has no number at iteration 10" not in output
    run = only_run(tmp_path)
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "finished" and "iteration 0: all codes are equal" in status["troubles"]["Flat"]
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    found = [record["iteration"] for record in records if record["name"] == "Flat"]
    assert min(found) == 20, "there must be numbers once the codes have one, and none before"


def test_patience_counts_measurements(tmp_path: Path) -> None:
    # one epoch has 21 batches: best at the second measurement (iteration 5), two more without improvement
    words = [
        "experiment=tiny",
        scripted([1, 3, 2, 2, 2, 2]),
        "+callbacks.stop={_target_: frame.callbacks.EarlyStopping, monitor: Score, patience: 2}",
        "checkpoint.best=Score",
    ]
    code, output = train(words, tmp_path)
    assert code == 0 and "has not improved in 2 measurements" in output, output
    run = only_run(tmp_path)
    assert read(run / "checkpoints" / "last.ckpt")["counters"]["iterations"] == 15
    best = read(run / "checkpoints" / "best.ckpt")
    assert best["counters"]["iterations"] == 5 and best["measurement"]["values"] == {"Score": 3.0}
    status = json.loads((run / "status.json").read_text())
    assert status["reason"] == "stopped early"


def test_the_best_checkpoint_holds_the_weights_that_were_measured(tmp_path: Path) -> None:
    code, output = train(["experiment=tiny", "checkpoint.best=ELBO/Validation"], tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)
    measured = read(run / "checkpoints" / "best.ckpt")["measurement"]
    from frame.engine.reevaluate import evaluate_run

    evaluate_run(run, checkpoint="best", evaluate_on="valid")
    again = [r for r in frame.open(run).folder.records if r["checkpoint"] == "best" and r["name"] == "ELBO/Validation"]
    assert again[-1]["value"] == measured["values"]["ELBO/Validation"]
    assert again[-1]["iteration"] == measured["iteration"]


def test_early_stopping_goes_on_counting_after_a_resume(tmp_path: Path) -> None:
    words = [
        "experiment=tiny",
        "checkpoint.every=1 iteration",
        scripted([5, 1, 1, 1, 1, 1, 1, 1]),
        "+callbacks.stop={_target_: frame.callbacks.EarlyStopping, monitor: Score, patience: 4}",
    ]
    code, output = train(words, tmp_path, BREAK="SIGKILL 12")  # measured at 0, 5, 10: two without improvement
    assert code == -9, output
    run = only_run(tmp_path)
    code, output = train([f"resume={run}"], tmp_path)
    assert code == 0, output
    # the script restarts with 5 (no improvement), 1: the third and fourth in a row
    assert read(run / "checkpoints" / "last.ckpt")["counters"]["iterations"] == 20


def test_a_plateau_lowers_the_learning_rate_by_measurements(tmp_path: Path) -> None:
    words = [
        "experiment=tiny",
        scripted([5, 1]),
        "+callbacks.plateau={_target_: frame.callbacks.ReduceOnPlateau, monitor: Score, factor: 0.5, patience: 1}",
    ]
    code, output = train(words, tmp_path)
    assert code == 0, output
    rates = pd.read_csv(only_run(tmp_path) / "metrics.csv").dropna(subset="lr").set_index("iteration")["lr"]
    # measured at 0 (5), 5, 10 -> halved, 15, 20 -> halved, ...
    assert rates[7] == 1e-3 and rates[14] == 5e-4 and rates[21] == 2.5e-4


def test_evaluations_happen_at_the_start_on_time_and_at_the_end_once(tmp_path: Path) -> None:
    words = ["experiment=tiny", "callbacks.elbo_valid.evaluate_every=1 epoch", "train_for=50 iterations"]
    code, output = train([*words, scripted([1], every="end")], tmp_path)
    assert code == 0, output
    metrics = pd.read_csv(only_run(tmp_path) / "metrics.csv")
    assert metrics.dropna(subset="ELBO/Validation")["iteration"].tolist() == [0, 21, 42, 50]
    assert metrics.dropna(subset="Score")["iteration"].tolist() == [50]
    assert not (only_run(tmp_path) / "ELBO").exists()


def test_a_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    words = ["experiment=tiny", "+callbacks.poison={_target_: toys.Poison, iteration: 17}"]
    code, output = train(words, tmp_path)
    assert code == 1, output
    assert "iteration 18" in output and "distortion is nan" in output and "Traceback" not in output
    run = only_run(tmp_path)
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed" and "iteration 18" in status["reason"]
    last = read(run / "checkpoints" / "last.ckpt")
    assert last["counters"]["iterations"] == 15
    assert all(torch.isfinite(w).all() for w in last["model"].values())


def test_a_monitor_counts_each_measurement_once() -> None:
    class Count(Monitor):
        seen: list[bool] = []

        def act(self, trainer: object, optimization: object, measurement: Measurement, improved: bool) -> None:
            self.seen.append(improved)

    monitor = Count("a", mode="min", min_delta=0.5)
    for value in (3.0, 2.9, 2.0, float("nan"), 1.6, 1.4):
        monitor.on_measurement(None, None, Measurement("a", {"a": value}, 0, 0.0))  # type: ignore[arg-type]
    monitor.on_measurement(None, None, Measurement("b", {"b": 0.0}, 0, 0.0))  # type: ignore[arg-type]
    assert monitor.seen == [True, False, True, False, False, True]


@pytest.mark.parametrize(("mode", "kept"), [("null", min), ("max", max)])
def test_the_best_error_is_the_smallest_unless_told_otherwise(
    mode: str, kept: Callable[[Iterable[float]], float], tmp_path: Path
) -> None:
    error = (
        "+callbacks.error={_target_: frame.callbacks.EvaluationCallback, name: Error, evaluate_every: 10 iterations,"
        " evaluator: {_target_: frame.evaluation.reconstruction_error.ReconstructionErrorEvaluation}}"
    )
    code, output = train(["experiment=tiny", error, "checkpoint.best=Error", f"checkpoint.mode={mode}"], tmp_path)
    assert code == 0, output
    run = frame.open(only_run(tmp_path)).folder
    errors = [record["value"] for record in run.records if record["name"] == "Error"]
    best = read(run.path / "checkpoints" / "best.ckpt")
    assert len(errors) > 3 and min(errors) < max(errors)
    assert best["measurement"]["values"]["Error"] == kept(errors)


@pytest.mark.parametrize(
    ("words", "iterations"),
    [
        (["debug=fast", "experiment=tiny"], 1),
        (["experiment=tiny", "+debug=fast"], 1),
        (["+debug=overfit", "+experiment=tiny"], 200),
        (["debug=profile", "experiment=tiny"], 50),
    ],
)
def test_debug_wins_wherever_it_is_typed(words: list[str], iterations: int, tmp_path: Path) -> None:
    code, output = train(words, tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)
    counters = read(run / "checkpoints" / "last.ckpt")["counters"]
    assert counters["iterations"] == iterations
    if "overfit" in words[0]:
        assert counters["epochs"] == 200  # the same batch each time
    if "profile" in words[0]:
        assert "run_training_batch" in output


def test_time_is_counted_without_evaluations(tmp_path: Path) -> None:
    slow = (
        "+callbacks.slow={_target_: frame.callbacks.EvaluationCallback, name: Slow, evaluate_every: 0.5 seconds,"
        " evaluator: {_target_: toys.Slow, seconds: 0.4}}"
    )
    code, output = train(["experiment=tiny", "train_for=1 second", "checkpoint.every=0.5 seconds", slow], tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)
    counters = read(run / "checkpoints" / "last.ckpt")["counters"]
    assert 1 <= counters["seconds"] < 1.4
    records = [r for r in frame.open(run).folder.records if r["name"] == "Slow"]
    assert [int(2 * r["seconds"]) for r in records] == [0, 1, 2]
    assert (run / "checkpoints" / "previous.ckpt").exists()
