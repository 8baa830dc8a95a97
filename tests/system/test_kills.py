"""A run killed at a random moment by any signal can be resumed and ends in the same bits. Uses real processes."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from frame.runs.checkpoints import newest, read
from frame.runs.folder import RunFolder
from tests.processes import OWN, Process, only_run, train
from tests.system.test_resume import same

# saves at every second iteration, so that most kills hit a save
WORDS = ["--config-dir", str(OWN / "config"), "experiment=tiny", "checkpoint.every=2 iterations"]
WORDS += ["checkpoint.best=ELBO/Validation", "callbacks.elbo_valid.evaluate_every=5 iterations"]
BY = [
    ("SIGKILL",),
    ("SIGTERM", "SIGKILL"),
    ("SIGINT", "SIGINT"),
    ("SIGHUP", "SIGTERM"),
    ("SIGSTOP", "SIGCONT", "SIGTERM"),
]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_killed_fifty_times_at_random(part: int, tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    straight.mkdir()
    code, output = train(WORDS[2:], straight)
    assert code == 0, output
    reference = read(only_run(straight) / "checkpoints/last.ckpt")
    chance = random.Random(part)
    kills = runs = 0
    while kills < 10:
        runs += 1
        cwd = tmp_path / f"run_{runs}"  # a run may end before it is hit
        cwd.mkdir()
        words = ["train", *WORDS]
        for number in range(5):
            process = Process(words, cwd)
            kills += hit(process, cwd, chance) if number < 4 else 0
            code = process.wait()
            assert "Traceback" not in process.output and "Exception ignored" not in process.output, process.output
            found = list(cwd.glob("runs/*/*/config.yaml"))
            if not found:
                continue
            run = RunFolder(found[0].parent)
            assert not run.is_locked()
            if newest(run.path) is None:
                assert run.standing.get("state") != "finished"
            if run.standing.get("state") == "finished":
                break
            assert code != 0
            words = ["train", *WORDS[:2], f"resume={run.path}"]
        assert run.standing["state"] == "finished"
        ours = read(run.path / "checkpoints/last.ckpt")
        for key in ("model", "players", "loader"):
            assert same(ours[key], reference[key]), key
        assert not list((run.path / "checkpoints").glob(".*"))
        assert [r["iteration"] for r in run.records] == sorted(r["iteration"] for r in run.records)


def hit(process: Process, cwd: Path, chance: random.Random) -> int:
    """Sends a signal of BY at a random moment after the run has a folder; 1 if the run had not ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.process.is_alive() and not trains(cwd):
        time.sleep(0.005)
    time.sleep(chance.random() ** 2 * 1.5)
    if not process.process.is_alive():
        return 0
    assert process.process.pid is not None
    for name in chance.choice(BY):
        try:
            os.kill(process.process.pid, getattr(signal, name))
        except ProcessLookupError:
            break
        time.sleep(chance.random() * 0.05)
    return 1


def trains(cwd: Path) -> bool:
    return any(RunFolder(lock.parent).is_locked() for lock in cwd.glob("runs/*/*/lock"))
