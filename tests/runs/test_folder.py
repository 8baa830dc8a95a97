"""A run's folder under bad conditions: a full disk, another file system, two starts in one second."""

import json
import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from frame.callbacks.checkpoints import read
from frame.common.files import write_whole
from frame.runs.folder import FORMAT, RunFolder
from tests.processes import OWN, Process, only_run, train


def test_two_starts_in_one_second_have_two_folders(tmp_path: Path) -> None:
    runs = [RunFolder.create(tmp_path, "a") for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    for run in runs:
        run.unlock()


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    code, output = train(["experiment=tiny", "train_for=10 iterations", "params.beta=0.5"], tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)
    names = {file.name for file in run.iterdir()}
    assert {"config.yaml", "overrides.yaml", "code.json", "code.diff", "environment.json", "status.json"} <= names
    assert {"metrics.csv", "records.jsonl", "checkpoints"} <= names
    assert "params.beta=0.5" in (run / "overrides.yaml").read_text()
    status = json.loads((run / "status.json").read_text())
    assert status["format"] == FORMAT
    assert status["state"] == "finished" and status["reason"] == "trained for 10 iterations"
    assert status["metrics"]["ELBO/Validation"]["ELBO/Validation"] < 0
    assert {"torch", "lightning"} <= set(json.loads((run / "environment.json").read_text())["packages"])
    # the last lines: a table, the folder, a command
    assert "ELBO/Validation" in output and str(run.relative_to(tmp_path)) in output and "evaluate_on=test" in output


def test_the_uncommitted_difference_is_kept(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "mine.py").write_text("one = 1\n")
    for words in (["init", "-q"], ["add", "mine.py"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    (tmp_path / "mine.py").write_text("one = 2\n")
    code, output = train(["experiment=tiny", "train_for=1 iteration"], tmp_path)
    assert code == 0, output
    run = only_run(tmp_path)
    version = json.loads((run / "code.json").read_text())
    assert version["dirty"] and len(version["commit"]) == 40
    assert "+one = 2" in (run / "code.diff").read_text()


def test_a_full_disk_is_reported_and_the_former_checkpoint_stays(tmp_path: Path) -> None:
    # a limit on the size of files fails the write like a full disk
    breaks = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from frame.callbacks import checkpoints as c\n"
        "def save(state, stream, c=c, resource=resource, whole=c.torch.save, n=[0]):\n"
        "    n[0] += 1\n"
        "    soft = 3000 if 3 <= n[0] <= 4 else resource.RLIM_INFINITY\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))\n"
        "    try: whole(state, stream)\n"
        "    finally: n[0] != 4 or resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "c.torch.save = save"
    )
    words = ["train", "--config-dir", str(OWN / "config"), "experiment=tiny", "train_for=17 iterations"]
    words += ["checkpoint.every=5 iterations", "callbacks=null"]
    assert resource.RLIM_INFINITY == -1 and signal.SIGXFSZ
    process = Process(words, tmp_path, first=breaks)
    # saves at 5, 10, (15 and 17 fail): the status describes what is on disk, and the run can be resumed
    assert process.wait() == 1 and "Traceback" not in process.output
    assert "could not be written" in process.output and "training goes on" in process.output, process.output
    assert "not finished" in process.output and "its checkpoint is of iteration 10" in process.output
    run = only_run(tmp_path)
    assert read(run / "checkpoints" / "last.ckpt")["counters"]["iterations"] == 10
    status = RunFolder(run).status
    assert status["state"] == "stopped" and "could not be written" in status["reason"]
    assert status["counters"]["iterations"] == 10
    assert not list((run / "checkpoints").glob(".*"))
    resumed, output = train([f"resume={run}"], tmp_path)
    assert resumed == 0 and read(run / "checkpoints" / "last.ckpt")["counters"]["iterations"] == 17, output
    assert RunFolder(run).status["state"] == "finished"


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="/dev/shm is not a file system of its own here")
def test_no_partial_checkpoint_is_visible_with_a_temporary_folder_elsewhere(tmp_path: Path) -> None:
    target = tmp_path / "last.ckpt"
    target.write_bytes(b"old" * 1000)
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            content = target.read_bytes()
            seen.add(content[:3] + content[-3:] + str(len(content)).encode())

    def slowly(stream: object) -> None:
        for _ in range(20):
            stream.write(b"new" * 50)  # type: ignore[attr-defined]
            stream.flush()  # type: ignore[attr-defined]
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = "/dev/shm"
    try:
        elsewhere = set(Path("/dev/shm").iterdir())
        write_whole(target, slowly)
        assert set(Path("/dev/shm").iterdir()) <= elsewhere
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        done.set()
        watcher.join()
    assert seen <= {b"oldold3000", b"newnew3000"}


def test_ctrl_c_twice_kills(tmp_path: Path) -> None:
    words = ["train", "--config-dir", str(OWN / "config"), "experiment=tiny", "train_for=1 hour", "callbacks=null"]
    # accumulation delays the stop for an hour, but the second signal does not wait
    process = Process([*words, "optimization.accumulate=100000000"], tmp_path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("runs/tiny/*/metrics.csv")):  # it trains
        time.sleep(0.1)
    assert process.process.pid is not None
    os.kill(process.process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.process.is_alive()
    os.kill(process.process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    assert "once more kills" in process.output


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    words = ["experiment=tiny", "checkpoint.every=40 iterations"]
    code, output = train(words, tmp_path, BREAK="SIGKILL 30")
    assert code == -9, output
    run = only_run(tmp_path)
    assert not (run / "checkpoints" / "last.ckpt").exists() and (run / "metrics.csv").exists()
    code, output = train([f"resume={run}"], tmp_path)
    assert code == 0, output
    metrics = pd.read_csv(run / "metrics.csv")
    assert metrics["iteration"].is_monotonic_increasing and metrics["iteration"].is_unique
    assert metrics.dropna(subset="ELBO/Validation")["iteration"].tolist() == [0, 10, 20, 30, 40, 50]
