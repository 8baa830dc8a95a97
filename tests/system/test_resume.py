"""A run that is killed anywhere and resumed ends in the same weights. Uses real processes and kills."""

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from frame.callbacks.checkpoints import read
from frame.runs.folder import RunFolder
from frame.runs.journal import RECORDS, Journal
from frame.runs.listing import show
from tests.processes import OWN, Process, only_run, train

EXPERIMENTS = ("tiny", "duel", "pair", "codes")
QUICK = [*[(name, "SIGKILL 23") for name in EXPERIMENTS[1:]], ("tiny", "SIGKILL 17"), ("tiny", "save 4")]
# inside an epoch (21 batches), on its last batch, on its first, inside an accumulation, on a checkpoint, in a save
SLOW = [
    (experiment, point)
    for experiment in EXPERIMENTS
    for point in ("SIGKILL 1", "SIGKILL 5", "SIGKILL 6", "SIGKILL 20", "SIGKILL 21", "SIGKILL 22", "SIGKILL 30")
    + ("SIGKILL 42", "SIGKILL 43", "SIGKILL 49", "SIGKILL 50", "save 1", "save 2", "save 7", "save 10")
]
OPTIONS = ["optimization.accumulate=3", "optimization.average=0.9"]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    runs = {}
    for experiment in EXPERIMENTS:
        cwd = tmp_path_factory.mktemp(experiment)
        code, output = train([f"experiment={experiment}", *OPTIONS], cwd)
        assert code == 0, output
        runs[experiment] = only_run(cwd)
    return runs


def assert_same_end(run: Path, reference: Path) -> None:
    ours, theirs = (read(folder / "checkpoints" / "last.ckpt") for folder in (run, reference))
    assert ours["counters"]["iterations"] == 50
    for key in ("model", "average", "players", "loader"):
        assert same(ours[key], theirs[key]), key
    mine, other = (pd.read_csv(folder / "metrics.csv").drop(columns="seconds") for folder in (run, reference))
    pd.testing.assert_frame_equal(mine, other)
    assert not list((run / "checkpoints").glob(".*")), "a half-written file was left behind"


def kill_and_resume(experiment: str, point: str, cwd: Path, reference: Path) -> None:
    code, output = train([f"experiment={experiment}", *OPTIONS], cwd, BREAK=point)
    assert code == -9, output
    run = only_run(cwd)
    code, output = train([f"resume={run}"], cwd)
    assert code == 0, output
    assert_same_end(run, reference)


@pytest.mark.parametrize(("experiment", "point"), QUICK)
def test_killed_and_resumed_ends_in_the_same_bits(
    experiment: str, point: str, tmp_path: Path, uninterrupted: dict[str, Path]
) -> None:
    kill_and_resume(experiment, point, tmp_path, uninterrupted[experiment])


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "point"), SLOW)
def test_killed_anywhere(experiment: str, point: str, tmp_path: Path, uninterrupted: dict[str, Path]) -> None:
    kill_and_resume(experiment, point, tmp_path, uninterrupted[experiment])


def test_a_run_killed_after_its_last_step_only_ends(tmp_path: Path, tiny_run: Path) -> None:
    code, output = train(["experiment=tiny"], tmp_path, BREAK="end")
    assert code == -9
    run = only_run(tmp_path)
    assert read(run / "checkpoints" / "last.ckpt")["counters"]["iterations"] == 50
    code, output = train([f"resume={run}"], tmp_path)
    assert code == 0, output
    assert_same_end(run, tiny_run)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_stops_on_an_optimizer_step(
    name: str, tmp_path: Path, uninterrupted: dict[str, Path]
) -> None:
    code, output = train(["experiment=tiny", *OPTIONS], tmp_path, BREAK=f"{name} 16")
    assert code == {"SIGTERM": 143, "SIGINT": 130}[name], output
    run = only_run(tmp_path)
    assert '"state": "stopped"' in (run / "status.json").read_text()
    assert f"resume={run}" in output  # it can be pasted anywhere
    assert read(run / "checkpoints" / "last.ckpt")["counters"]["iterations"] == 18  # a multiple of 3
    code, output = train([f"resume={run}"], tmp_path)
    assert code == 0, output
    assert_same_end(run, uninterrupted["tiny"])


@pytest.mark.slow
@pytest.mark.parametrize(("every", "nth"), [("20 iterations", 1), ("20 iterations", 2), ("end", 1)])
def test_a_signal_ends_an_evaluation_and_the_resumed_run_repeats_it(every: str, nth: int, tmp_path: Path) -> None:
    slow = "{_target_: frame.callbacks.EvaluationCallback, name: slow, evaluate_every: %s, evaluator: %s}"
    words = ["experiment=tiny", f"+callbacks.slow={slow % (every, '{_target_: toys.Slow, seconds: 0}')}"]
    words += ["doctor=null"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    assert train(words, whole)[0] == 0
    process = Process(["train", "--config-dir", str(OWN / "config"), *words], broken, SLOW="8")
    while process.output.count("measuring") < 1 + nth:  # once in the dry run
        time.sleep(0.02)
    started = time.monotonic()
    os.kill(process.process.pid or 0, signal.SIGTERM)
    assert process.wait() == 143, process.output
    assert time.monotonic() - started < 5
    run = only_run(broken)
    code, output = train([f"resume={run}"], broken)
    assert code == 0, output
    ours, theirs = (Journal(only_run(folder) / RECORDS).read() for folder in (broken, whole))
    seen = [sorted((one["name"], one["iteration"], one["value"]) for one in each) for each in (ours, theirs)]
    assert seen[0] == seen[1]
    assert_same_end(run, only_run(whole))


def test_a_finished_run_says_so_and_can_be_extended(tmp_path: Path, tiny_run: Path) -> None:
    code, output = train(["experiment=tiny", "train_for=20 iterations"], tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)
    code, output = train([f"resume={run}"], tmp_path)
    assert code == 0 and "is finished" in output and "Traceback" not in output
    code, output = train([f"resume={run}", "train_for=50 iterations"], tmp_path)
    assert code == 0, output
    ours, theirs = (read(folder / "checkpoints" / "last.ckpt") for folder in (run, tiny_run))
    assert same(ours["model"], theirs["model"]) and same(ours["players"], theirs["players"])


def test_a_resumed_run_keeps_its_config(tmp_path: Path) -> None:
    code, output = train(["experiment=tiny", "train_for=6 iterations"], tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)
    code, output = train([f"resume={run}", "params.lr=1"], tmp_path)
    assert code == 2 and "params.lr" in output and "Traceback" not in output
    code, output = train([f"resume={tmp_path}"], tmp_path)
    assert code == 2 and "no run in" in output


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    from frame.common.errors import UserError
    from frame.runs.folder import RunFolder

    code, output = train(["experiment=tiny", "train_for=6 iterations"], tmp_path)
    assert code == 0, output
    run = RunFolder(only_run(tmp_path))
    run.lock()
    code, output = train([f"resume={run.path}", "train_for=10 iterations"], tmp_path)
    assert code == 2 and "another process is training" in output
    run.unlock()
    with pytest.raises(UserError):
        RunFolder.existing(tmp_path)


def test_a_longer_run_stretches_schedules_that_are_shares_of_it(tmp_path: Path) -> None:
    """A cosine to 0 over 20 iterations is halfway at 20 of 40 iterations. `show` prints the groups."""
    rate = "params.lr={_target_: frame.common.schedules.Cosine, start: 1e-3, end: 0.0}"
    rules = "optimization.rules={decoder: {match: decoder.*, freeze: 10 iterations}}"
    words = ["experiment=tiny", rate, rules, "train_for=20 iterations", "trainer.log_every_n_steps=1", "callbacks=null"]
    code, output = train(words, tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)
    code, output = train([f"resume={run}", "train_for=40 iterations"], tmp_path)
    assert code == 0, output
    (line,) = [line for line in output.splitlines() if "instead of" in line]
    assert "the run takes 40 iterations instead of 20 iterations" in line and "shares of it follow" in line
    assert "lr/model/decoder continues at 0.0005 instead of 0" in line
    rows = (run / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("lr/model/rest")
    rates = [float(row.split(",")[column]) for row in rows[1:]]
    by_hand = [1e-3 * (1 + math.cos(math.pi * i / total)) / 2 for i, total in enumerate([20] * 20 + [40] * 20)]
    assert rates == pytest.approx(by_hand, abs=1e-12)
    groups = [line.split() for line in show(RunFolder(run)).splitlines() if line.startswith("model ")]
    assert [(words[1], words[2], words[3]) for words in groups] == [("decoder", "4", "2272"), ("rest", "4", "2344")]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["tiny", "duel"])
def test_a_compiled_run_that_is_killed_and_resumed_ends_in_the_same_bits(experiment: str, tmp_path: Path) -> None:
    words = [f"experiment={experiment}", *OPTIONS, "execution=compiled", f"execution.cache={tmp_path}/cache"]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    for folder, environment in ((straight, {}), (broken, {"BREAK": "SIGKILL 23"})):
        process = Process(["train", "--config-dir", str(OWN / "config"), *words], folder, **environment)
        assert process.wait(500) == (-9 if environment else 0), process.output  # compiling takes a minute or more
    run = only_run(broken)
    code, output = train([f"resume={run}"], broken)
    assert code == 0, output
    assert_same_end(run, only_run(straight))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["tiny", "duel"])
def test_a_captured_run_that_is_killed_and_resumed_ends_in_the_same_bits(experiment: str, tmp_path: Path) -> None:
    """With a tape in the place of a CUDA graph."""
    words = [f"experiment={experiment}", *OPTIONS, "execution._target_=tape.OnTape", "~execution.channels_last"]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    straight.mkdir()
    broken.mkdir()
    for folder, environment in ((straight, {}), (broken, {"BREAK": "SIGKILL 23"})):
        code, output = train(words, folder, **environment)
        assert code == (-9 if environment else 0), output
    run = only_run(broken)
    code, output = train([f"resume={run}"], broken)
    assert code == 0, output
    assert_same_end(run, only_run(straight))
