"""Runs on data outside of the memory: killed, with workers that die, files that change, and little memory."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from frame.callbacks.checkpoints import read
from frame.runs.folder import RunFolder
from tests.processes import only_run, train
from tests.system.test_resume import same

WORDS = ["experiment=tiny", "data=npy", "data.train=set", "data.n_test=0"]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A folder with mapped arrays below it."""
    digits = load_digits()
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set/x.npy", (digits.images * 255 / 16).astype(np.uint8)[:, None])
    np.save(tmp_path / "set/y.npy", digits.target)
    return tmp_path


def straight(cwd: Path) -> dict[str, Any]:
    """The state at the end of a run that nothing has interrupted and no worker has served."""
    code, output = train([*WORDS, "device.experiments_root=straight"], cwd)
    assert code == 0, output
    (run,) = (cwd / "straight").glob("*/*/checkpoints/last.ckpt")
    return read(run)


def assert_same_end(cwd: Path, reference: dict[str, Any]) -> None:
    ours = read(only_run(cwd) / "checkpoints/last.ckpt")
    assert ours["counters"]["iterations"] == 50
    for key in ("model", "players", "loader"):
        assert same(ours[key], reference[key]), key


@pytest.mark.slow
def test_killed_within_an_epoch_with_any_number_of_workers(cwd: Path) -> None:
    reference = straight(cwd)
    for before, after in ((0, 8), (1, 0), (2, 2), (8, 1)):
        shutil.rmtree(cwd / "runs", ignore_errors=True)
        code, output = train([*WORDS, f"device.num_workers={before}"], cwd, BREAK="SIGKILL 38")
        assert code == -9, output
        code, output = train([f"resume={only_run(cwd)}", f"device.num_workers={after}"], cwd)
        assert code == 0, output
        assert_same_end(cwd, reference)


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing(cwd: Path) -> None:
    reference = straight(cwd)
    code, output = train([*WORDS, "device.num_workers=2", "checkpoint.every=1 hour"], cwd, BREAK="worker 17")
    lines = [line for line in output.splitlines() if line.startswith("frame:")]
    assert code == 1 and "Traceback" not in output, output
    assert "of 2 (process" in lines[-1] and "was killed by SIGKILL" in lines[-1] and "resume=" in lines[-1], output
    run = RunFolder(only_run(cwd))
    assert run.standing["state"] == "stopped"
    # the batches that were read already were trained on, and the state was saved
    assert 17 <= read(run.path / "checkpoints/last.ckpt")["counters"]["iterations"] < 50
    code, output = train([f"resume={run.path}"], cwd)
    assert code == 0, output
    assert_same_end(cwd, reference)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_cut_short_ends_the_run_in_one_line(cwd: Path, workers: int) -> None:
    reference = straight(cwd)
    file = cwd / "set/x.npy"
    whole, times = file.read_bytes(), file.stat()
    words = [*WORDS, f"device.num_workers={workers}", "checkpoint.every=1 hour", "callbacks.elbo_valid=null"]
    code, output = train(words, cwd, BREAK="shorten 17", FILE=str(file))
    assert code == 1 and "Traceback" not in output and "x.npy was changed or replaced" in output, output
    run = only_run(cwd)
    code, output = train([f"resume={run}"], cwd)
    assert code == 2 and "cut short" in output and "Traceback" not in output, output
    np.save(file, np.load(cwd / "set/y.npy")[:, None, None, None].repeat(64, 1).reshape(-1, 1, 8, 8).astype(np.uint8))
    code, output = train([f"resume={run}"], cwd)
    assert code == 2 and "has other pictures than when" in output, output
    file.write_bytes(whole)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    code, output = train([f"resume={run}"], cwd)
    assert code == 0, output
    assert_same_end(cwd, reference)
