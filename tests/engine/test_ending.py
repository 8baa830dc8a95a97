"""How runs end: the status describes what is on disk, and the exit code is 0 only if the run is finished."""

import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frame.callbacks.stopping import Signals
from frame.engine.ending import protocols
from frame.runs.checkpoints import read
from frame.runs.folder import RunFolder
from tests.processes import only_run, train
from tests.system.test_resume import same

BEST = "checkpoint.best=ELBO/Validation"
SCORE = (
    "+callbacks.score={_target_: frame.callbacks.EvaluationCallback, name: Score, evaluate_every: 5 iterations,"
    " evaluator: {_target_: toys.Scripted, values: [5, 1]}}"
)
STOP = "+callbacks.stop={_target_: frame.callbacks.EarlyStopping, monitor: Score, patience: 2}"


@pytest.fixture(scope="module")
def reference(tiny_run: Path) -> dict[str, Any]:
    """The state at the end of an uninterrupted run."""
    return read(tiny_run / "checkpoints/last.ckpt")


def assert_goes_on(run: RunFolder, cwd: Path, reference: dict[str, Any]) -> None:
    """If it is resumed, it ends like an uninterrupted run."""
    code, output = train([f"resume={run.path}"], cwd)
    assert code == 0 and "Traceback" not in output, output
    ours = read(run.path / "checkpoints/last.ckpt")
    for key in ("model", "players", "loader"):
        assert same(ours[key], reference[key]), key
    assert run.status["state"] == "finished" and run.status["counters"]["iterations"] == 50
    code, output = train([f"resume={run.path}"], cwd)
    assert code == 0 and "nothing to do" in output


@pytest.mark.parametrize("file", ["last.ckpt", "best.ckpt"])
def test_a_run_that_could_not_save_is_not_finished_and_can_be_resumed(
    file: str, tmp_path: Path, reference: dict[str, Any]
) -> None:
    code, output = train(["experiment=tiny", BEST], tmp_path, BREAK=f"folder checkpoints/{file}")
    assert code == 1 and "Traceback" not in output
    said = output.splitlines()[-1]
    assert said.startswith("frame: not finished: ") and f"{file} could not be written" in said and "resume=" in said
    run = RunFolder(only_run(tmp_path))
    assert run.status["state"] == "stopped" and f"{file} could not be written" in run.status["reason"]
    assert run.status["counters"]["iterations"] == (50 if file == "best.ckpt" else 10)
    (run.path / "checkpoints" / file).rmdir()
    assert_goes_on(run, tmp_path, reference)
    best = read(run.path / "checkpoints/best.ckpt")
    assert best["measurement"]["iteration"] == best["counters"]["iterations"] == 50  # as measured, though written later


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[1]", b"\xff", b'{"state": 3, "counters": {"iterations": "x"}}']
)
def test_a_status_that_is_broken_or_could_not_be_written_is_not_trusted(
    content: bytes | None, tmp_path: Path, tiny_run: Path, reference: dict[str, Any]
) -> None:
    if content is None:
        code, output = train(["experiment=tiny", BEST], tmp_path, BREAK="folder status.json")
        assert code == 1 and "status.json could not be written" in output.splitlines()[-1]
        (only_run(tmp_path) / "status.json").rmdir()
    else:
        shutil.copytree(tiny_run, tmp_path / "runs/tiny/copied")
        (only_run(tmp_path) / "status.json").write_bytes(content)
    run = RunFolder(only_run(tmp_path))
    assert run.standing.get("state") is None
    assert_goes_on(run, tmp_path, reference)


def test_a_folder_that_is_removed_ends_the_run_in_one_line(tmp_path: Path) -> None:
    code, output = train(["experiment=tiny"], tmp_path, BREAK="gone .")
    assert code == 1 and "Traceback" not in output, output
    assert "not finished" in output.splitlines()[-1]


def test_checkpoints_that_are_removed_are_written_again(tmp_path: Path, reference: dict[str, Any]) -> None:
    code, output = train(["experiment=tiny"], tmp_path, BREAK="gone checkpoints")
    assert code == 0, output
    run = RunFolder(only_run(tmp_path))
    assert same(read(run.path / "checkpoints/last.ckpt")["model"], reference["model"])
    for file in (run.path / "checkpoints").iterdir():
        file.unlink()
    before = run.records
    code, output = train([f"resume={run.path}"], tmp_path)
    assert code == 2 and "its checkpoints are gone" in output and run.records == before


def test_a_damaged_last_checkpoint_of_a_finished_run_is_trained_again(
    tmp_path: Path, reference: dict[str, Any]
) -> None:
    code, output = train(["experiment=tiny"], tmp_path)
    assert code == 0, output
    run = RunFolder(only_run(tmp_path))
    last = run.path / "checkpoints/last.ckpt"
    content = bytearray(last.read_bytes())
    content[3000] ^= 1
    last.write_bytes(content)
    assert_goes_on(run, tmp_path, reference)


SIGNALS = ["SIGHUP 16", "SIGTERM 50", pytest.param("SIGINT 49", marks=pytest.mark.slow)]


@pytest.mark.parametrize("point", SIGNALS)
def test_a_signal_at_any_time_saves(point: str, tmp_path: Path, reference: dict[str, Any]) -> None:
    code, output = train(["experiment=tiny", BEST], tmp_path, BREAK=point)
    name = next(word for word in point.split() if word.startswith("SIG"))
    assert code == 128 + getattr(signal, name) and "Traceback" not in output, output
    run = RunFolder(only_run(tmp_path))
    assert run.status["state"] == "stopped" and run.status["reason"] == name and "resume=" in output
    saved = read(run.path / "checkpoints/last.ckpt")["counters"]
    assert run.status["counters"] == saved
    assert_goes_on(run, tmp_path, reference)


def test_a_signal_after_the_end_leaves_the_run_finished(tmp_path: Path, reference: dict[str, Any]) -> None:
    code, output = train(["experiment=tiny", BEST], tmp_path, BREAK="end SIGTERM")
    assert code == 0 and "once more kills" in output, output
    run = RunFolder(only_run(tmp_path))
    assert run.status["state"] == "finished"
    assert same(read(run.path / "checkpoints/last.ckpt")["model"], reference["model"])


def test_resuming_a_run_that_was_killed_after_early_stopping_only_ends_it(tmp_path: Path) -> None:
    words = ["experiment=tiny", "checkpoint.every=1 iteration", SCORE, STOP]
    code, output = train(words, tmp_path, BREAK="end")
    assert code == -9, output
    run = RunFolder(only_run(tmp_path))
    stopped_at = read(run.path / "checkpoints/last.ckpt")["counters"]["iterations"]
    assert stopped_at < 50
    code, output = train([f"resume={run.path}"], tmp_path)
    assert code == 0, output
    assert run.status["reason"] == "stopped early" and run.status["counters"]["iterations"] == stopped_at
    code, output = train([f"resume={run.path}", "train_for=45 iterations"], tmp_path)  # with another limit it trains on
    assert code == 0 and read(run.path / "checkpoints/last.ckpt")["counters"]["iterations"] > stopped_at, output


def test_what_nohup_ignores_stays_ignored_and_the_handlers_come_back() -> None:
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=None), is_global_zero=False)
    optimization: Any = SimpleNamespace(noticed_signal=0, measuring=False)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals(trainer, optimization):
            signal.raise_signal(signal.SIGHUP)
            assert optimization.noticed_signal == 0
            with Signals(trainer, optimization):
                signal.raise_signal(signal.SIGTERM)
            assert optimization.noticed_signal == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_how_codes_were_judged_is_said_once() -> None:
    knn = {"estimator": "kNN, k = 5", "layer": "mean", "network": "projector"}
    records = [{"name": "a", **knn}, {"name": "a/floor", **knn, "layer": ""}, {"name": "b", **knn}]
    records += [{"name": "c", **knn, "network": ""}, {"name": "elbo", "estimator": "one sample", "layer": ""}]
    assert protocols(records) == ["a, b: kNN, k = 5, of the projector", "c: kNN, k = 5"]
