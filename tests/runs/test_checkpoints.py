"""Checkpoints as files: they are read intact or refused, and one exists at any moment."""

import errno
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from frame.common.errors import Damaged, UserError
from frame.runs import checkpoints
from frame.runs.checkpoints import FORMAT, clear, load, newest, read, verify, write


def state(iteration: int, **more: Any) -> dict[str, Any]:
    weights = {"w": torch.arange(40.0) + iteration}
    counters = {"iterations": iteration}
    return {"format": FORMAT, "model": weights, "average": None, "counters": counters, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with two states and the best one."""
    (tmp_path / "checkpoints").mkdir()
    for iteration in (10, 20):
        write(tmp_path / "checkpoints/last.ckpt", state(iteration), keep=tmp_path / "checkpoints/previous.ckpt")
    write(tmp_path / "checkpoints/best.ckpt", state(10))
    return tmp_path


def test_torch_reads_it_directly(folder: Path) -> None:
    for name, iteration in (("last", 20), ("previous", 10), ("best", 10)):
        path = folder / f"checkpoints/{name}.ckpt"
        assert torch.load(path, weights_only=True)["counters"] == {"iterations": iteration}
        assert read(path)["counters"] == {"iterations": iteration} and verify(path) == path


@pytest.mark.parametrize("name", ["last", "previous", "best"])
def test_one_changed_byte_anywhere_is_found(folder: Path, name: str) -> None:
    path = folder / f"checkpoints/{name}.ckpt"
    whole = path.read_bytes()
    chance = random.Random(0)
    last = range(len(whole) - checkpoints.LENGTH, len(whole))  # each byte of the line at the end
    for position in [*(chance.randrange(len(whole)) for _ in range(200)), *last]:
        changed = bytearray(whole)
        changed[position] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(UserError, match="cannot be read as a checkpoint|has format"):
            read(path)
        with pytest.raises(UserError):
            verify(path)
    path.write_bytes(whole)
    assert read(path)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "one byte": lambda whole: whole[:1],
    "half": lambda whole: whole[: len(whole) // 2],
    "a byte short": lambda whole: whole[:-1],
    "without its line": lambda whole: whole[: -checkpoints.LENGTH],
    "only its line": lambda whole: whole[-checkpoints.LENGTH :],
    "a byte more": lambda whole: whole + b"\n",
    "twice": lambda whole: whole * 2,
    "zeros at the end": lambda whole: whole + bytes(4096),
    "zeros in it": lambda whole: whole[:500] + bytes(500) + whole[1000:],
    "zeros": lambda whole: bytes(len(whole)),
    "text": lambda whole: b"format: 2\n",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_file_is_replaced_by_the_one_before_with_a_line(
    folder: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last, previous = (folder / f"checkpoints/{name}.ckpt" for name in ("last", "previous"))
    last.write_bytes(CHANGES[change](last.read_bytes()))
    assert newest(folder) == previous
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(last) in said and str(previous) in said
    found = load(folder)
    assert found is not None and found["counters"] == {"iterations": 10}
    assert capsys.readouterr().err == said
    previous.write_bytes(CHANGES[change](previous.read_bytes()))
    for take in (newest, load):
        with pytest.raises(
            Damaged, match="last.ckpt cannot be read as a checkpoint .*, and there is no other"
        ) as error:
            take(folder)
        assert "\n" not in str(error.value)


def test_a_missing_one_is_reported_and_without_any_none_is_returned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "checkpoints/last.ckpt").unlink()
    assert newest(folder) == folder / "checkpoints/previous.ckpt"
    assert "last.ckpt is missing" in capsys.readouterr().err
    (folder / "checkpoints/previous.ckpt").unlink()
    assert newest(folder) is None and load(folder) is None
    (folder / "checkpoints/best.ckpt").write_bytes(b"")
    with pytest.raises(Damaged):
        newest(folder, "best")
    (folder / "checkpoints/last.ckpt").mkdir()
    with pytest.raises(Damaged, match="directory"):
        load(folder)


@pytest.mark.parametrize("found", [99, 1, 0, -1, "two", None, 2.0, True, [2]])
def test_another_format_is_one_line_with_advice(folder: Path, found: Any) -> None:
    path = folder / "checkpoints/last.ckpt"
    other = {**state(30), "format": found}
    for without in (False, True):
        for sealed in (False, True):
            if without:
                other.pop("format", None)
            write(path, other) if sealed else torch.save(other, path)
            for take in (load,) if sealed else (load, newest):
                with pytest.raises(UserError, match=r"has format .*reads format \d+: open the run with") as error:
                    take(folder)
                assert not isinstance(error.value, Damaged) and "\n" not in str(error.value)


def test_a_later_format_is_recognized_by_its_line(folder: Path) -> None:
    path = folder / "checkpoints/last.ckpt"
    path.write_bytes(path.read_bytes().replace(b"format 0002", b"format 0099"))
    with pytest.raises(UserError, match="has format 99"):
        newest(folder)


def test_another_file_of_torch_is_not_a_checkpoint(folder: Path) -> None:
    path = folder / "checkpoints/last.ckpt"
    for other in ([1, 2], {"format": FORMAT}, {**state(1), "counters": 3}, torch.zeros(3)):
        write(path, other) if isinstance(other, dict) else torch.save(other, path)
        with pytest.raises(Damaged):
            read(path)


def test_an_intact_last_checkpoint_exists_at_any_moment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, int]] = []

    def watched(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            look()
            done = real(*arguments, **options)
            look()
            return done

        monkeypatch.setattr(os, name, call)

    def look() -> None:
        last, previous = (read(folder / f"checkpoints/{name}.ckpt") for name in ("last", "previous"))
        found.append((last["counters"]["iterations"], previous["counters"]["iterations"]))

    for name in ("replace", "link", "unlink", "rename"):
        watched(name)
    write(folder / "checkpoints/last.ckpt", state(30), keep=folder / "checkpoints/previous.ckpt")
    assert len(found) >= 6 and found[-1] == (30, 20)
    assert set(found) <= {(20, 10), (30, 10), (30, 20)}
    assert sorted(file.name for file in (folder / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS])
def test_file_systems_without_links_have_copies(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)
    last, previous = (folder / f"checkpoints/{name}.ckpt" for name in ("last", "previous"))
    write(last, state(30), keep=previous)
    assert [read(path)["counters"]["iterations"] for path in (last, previous)] == [30, 20]
    monkeypatch.setattr("shutil.copyfile", refused)  # without room for a copy the new one is still written
    write(last, state(40), keep=previous)
    assert [read(path)["counters"]["iterations"] for path in (last, previous)] == [40, 20]
    assert len(list((folder / "checkpoints").iterdir())) == 3


def test_a_save_after_one_that_was_killed_in_between_leaves_nothing_behind(folder: Path) -> None:
    last, previous = (folder / f"checkpoints/{name}.ckpt" for name in ("last", "previous"))
    previous.unlink()
    os.link(last, previous)  # both names are one file
    write(last, state(30), keep=previous)
    assert [read(path)["counters"]["iterations"] for path in (last, previous)] == [30, 20]
    assert len(list((folder / "checkpoints").iterdir())) == 3


def test_only_files_of_a_killed_save_are_removed(folder: Path) -> None:
    inside = folder / "checkpoints"
    for name in (".last.ckpt.ab12_xyz", ".previous.ckpt.abcdefgh", ".best.ckpt.abcdefgh"):
        (inside / name).write_bytes(b"half")
    (folder / ".status.json.abcdefgh").touch()
    kept = [inside / ".last.ckpt.mine", inside / ".notes.abcdefgh", folder / ".hidden"]
    for file in kept:
        file.touch()
    clear(folder)
    left = {file.name for file in (*inside.iterdir(), *folder.iterdir())}
    assert left == {"checkpoints", "last.ckpt", "previous.ckpt", "best.ckpt", *(file.name for file in kept)}


def test_other_errors_than_a_full_disk_are_raised(folder: Path) -> None:
    with pytest.raises(Exception, match="pickle|lambda|local"):
        write(folder / "checkpoints/last.ckpt", {**state(1), "more": lambda: 0})
    assert read(folder / "checkpoints/last.ckpt")["counters"]["iterations"] == 20


@pytest.mark.slow
def test_the_cost_of_the_checksum(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints/last.ckpt"
    write(path, {**state(1), "model": {"w": torch.zeros(25_000_000)}})
    started = time.monotonic()
    verify(path)
    assert time.monotonic() - started < 5  # 0.2 s for 100 MB on a quiet machine
