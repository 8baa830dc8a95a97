"""The index of runs never changes a result, whatever happens to the runs or to the index."""

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from frame.commands.main import main
from frame.runs import index
from frame.runs.listing import find, summaries
from tests.analysis.by_hand import record, run

WORDS = ["columns=[run,state,seed,params.beta,iteration,ELBO/Test,ELBO/Test@10,flops,data._target_]"]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs whose files are old enough to be indexed, and an index for this test."""
    monkeypatch.setattr(index, "SETTLED", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2, 3):
        records = [record("ELBO/Test", seed + i, iteration=10 * i) for i in range(3)]
        run(tmp_path / "runs" / str(seed), {"beta": seed / 2}, seed, records)
    return tmp_path / "runs"


def listed(capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["list", "runs", *WORDS])
    return code, *capsys.readouterr()


def without(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
        return listed(capsys)


def test_an_indexed_run_is_not_read_again(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = listed(capsys)
    monkeypatch.setattr("frame.runs.listing.packed_summary", lambda run: pytest.fail("read"))
    assert listed(capsys) == first and first[0] == 0
    assert index.place().stat().st_mode & 0o077 == 0 and index.place().parent.stat().st_mode & 0o077 == 0


def edit(run: Path) -> None:
    lines = (run / "records.jsonl").read_text().splitlines()
    (run / "records.jsonl").write_text("\n".join([*lines, json.dumps(record("ELBO/Test", 77.0, iteration=99))]) + "\n")


def same_size(run: Path) -> None:
    """Changes it in place, and keeps its size and time."""
    file = run / "status.json"
    before = file.stat()
    file.write_text(file.read_text().replace("finished", "stopped "))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(run: Path) -> None:
    file = run / "config.yaml"
    before = file.stat()
    new = run / "new"
    new.write_text(file.read_text().replace("beta: 0.5", "beta: 9.5"))
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(new, file)


def linked(run: Path) -> None:
    os.replace(run / "status.json", run.parent.parent / "elsewhere.json")
    (run / "status.json").symlink_to(run.parent.parent / "elsewhere.json")


def exchanged(run: Path) -> None:
    run.rename(run.with_name("x"))
    run.with_name("2").rename(run)
    run.with_name("x").rename(run.with_name("2"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "touched": lambda run: os.utime(run / "records.jsonl"),
    "edited": edit,
    "same size and time": same_size,
    "replaced": replaced,
    "linked": linked,
    "deleted": lambda run: shutil.rmtree(run),
    "moved": lambda run: run.rename(run.with_name("9")),
    "exchanged": exchanged,
    "a file less": lambda run: (run / "records.jsonl").unlink(),
    "a file more": lambda run: (run / "costs.json").write_text('{"batch_size": 64, "flops_per_sample": 2}'),
    "damaged": lambda run: (run / "status.json").write_text(""),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(
    runs: Path, change: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = listed(capsys)
    CHANGES[change](runs / "1")
    after = listed(capsys)
    assert after == without(capsys, monkeypatch) == listed(capsys)
    assert (after == before) == (change == "touched")


def test_recently_changed_runs_are_read_again(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "SETTLED", 3_600_000_000_000)
    listed(capsys)
    assert not index.place().exists()


def as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def another(file: Path) -> None:
    file.unlink()
    sqlite3.connect(file).execute("CREATE TABLE runs (x INT)")


BREAKS: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "no base": lambda file: file.write_bytes(b"a" * 4096),
    "half": lambda file: file.write_bytes(file.read_bytes()[:5000]),
    "a folder": as_folder,
    "another's": another,
    "another version's": lambda file: sqlite3.connect(file).execute("PRAGMA user_version = 7"),
    "other columns": lambda file: sqlite3.connect(file).execute("ALTER TABLE runs RENAME COLUMN head TO tail"),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("break_", BREAKS)
def test_a_broken_index_changes_nothing_and_is_rebuilt(
    runs: Path, break_: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = listed(capsys)
    BREAKS[break_](index.place())
    assert listed(capsys) == first
    if break_ != "a folder":
        monkeypatch.setattr("frame.runs.listing.packed_summary", lambda run: pytest.fail("read"))
    assert listed(capsys) == first


def test_flipped_bytes_in_the_index_are_detected(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = listed(capsys)
    file = index.place()
    file.write_bytes(file.read_bytes().replace(b'"seed": 1', b'"seed": 8'))
    assert listed(capsys) == first


def test_removed_runs_are_dropped_and_the_size_is_bounded(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows() -> int:
        with sqlite3.connect(index.place()) as base:
            return int(base.execute("SELECT count(*) FROM runs").fetchone()[0])

    listed(capsys)
    assert rows() == 3
    shutil.rmtree(runs / "1")
    edit(runs / "2")
    listed(capsys)
    assert rows() == 2
    monkeypatch.setattr(index, "MOST", 1)
    edit(runs / "3")
    listed(capsys)
    assert rows() == 1


def test_several_write_it_at_once(runs: Path) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(summaries(find([runs]))))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3] * 8
    assert [s.get("seed") for s in summaries(find([runs]))] == [1, 2, 3]
