"""Runs on data outside of the memory: killed, with workers that die, files that change, and little memory."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from frame.callbacks.checkpoints import read
from frame.runs.folder import RunFolder
from tests.memory import own_memory
from tests.processes import Process, only_run, train
from tests.system.test_resume import same

ALLOWED = 300 << 20  # bytes
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


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that may take 300 MB."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next((path for _, kind, path in lines if "memory" in kind.split(",")), None)
    if own is None or os.geteuid() != 0:
        pytest.skip("needs control groups of the first version, and root")
    made = Path("/sys/fs/cgroup/memory") / own.strip("/") / f"test-{os.getpid()}"
    made.mkdir()
    (made / "memory.limit_in_bytes").write_text(str(ALLOWED))
    yield made
    for _ in range(100):
        with contextlib.suppress(OSError):
            made.rmdir()
            return
        time.sleep(0.1)


@pytest.mark.slow
def test_a_set_ten_times_the_memory(tmp_path: Path, group: Path) -> None:
    n = 10 * ALLOWED // 4096
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=(n, 1, 64, 64))
    rows = np.random.default_rng(0).integers(0, 256, (4096, 1, 64, 64), np.uint8)
    for start in range(0, n, len(rows)):
        x[start : start + len(rows)] = rows[: n - start]
    x.flush()
    with (tmp_path / "x.npy").open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    words = ["train", "+experiment=digits_VAE", "data=npy", "data.train=x.npy", "data.n_valid=1e-3", "data.n_test=0"]
    words += ["callbacks=null", "doctor=null"]  # whose batches take hundreds of MB
    words += ["train_for=600 iterations", "logging=csv", "params.batch_size=64"]
    enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
    process = Process(words, tmp_path, first=f"import os; {enter}")
    own: list[int] = []
    while process.process.is_alive():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError, StopIteration):
            own.append(own_memory(process.process.pid or 0))
        time.sleep(0.2)
    (tmp_path / "x.npy").unlink()
    assert process.wait() == 0, process.output
    late = own[len(own) // 2 :]
    assert max(late) - min(late) < 40 << 20, own  # flat: what evaluations take at the end, and no rows
    assert int((group / "memory.max_usage_in_bytes").read_text()) <= ALLOWED


@pytest.mark.slow
def test_a_worker_that_dies_costs_nothing(cwd: Path) -> None:
    reference = straight(cwd)
    code, output = train([*WORDS, "device.num_workers=2", "checkpoint.every=1 hour"], cwd, BREAK="worker 17")
    lines = [line for line in output.splitlines() if line.startswith("frame:")]
    assert code == 1 and "Traceback" not in output, output
    assert "of 2 (process" in lines[-1] and "was killed by SIGKILL" in lines[-1] and "resume=" in lines[-1], output
    run = RunFolder(only_run(cwd))
    assert run.standing["state"] == "stopped"
    # the batches that had come were trained on, and the state was saved; up to 4 were on the way
    assert 12 <= read(run.path / "checkpoints/last.ckpt")["counters"]["iterations"] < 50
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
