"""Files of JSON lines: each line is whole or absent, however writers end and however many there are."""

import fcntl
import json
import math
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from frame.common.errors import UserError
from frame.runs.journal import Journal, number
from tests.processes import files_no_larger_than

fork = multiprocessing.get_context("forkserver")


def strictly(path: Path) -> list[Any]:
    """Reads it like a strict JSON parser of another language."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_appended_lines_are_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    assert journal.read() == []
    lines: list[dict[str, Any]] = [{"a": 1, "text": "two\nlines, \u2028 and ü\ud800"}, {"b": [1.5, None, {"c": True}]}]
    journal.append(lines[0])
    Journal(journal.path).append(lines[1], {}, sync=True)
    assert Journal(journal.path).read() == [*lines, {}]
    assert strictly(journal.path) == [*lines, {}]


def test_numbers_that_are_not_finite_are_strict_json(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"nan": math.nan, "in": {"list": [math.inf, -math.inf, 1.0]}, "text": "Infinity and beyond"})
    (line,) = strictly(journal.path)
    assert line["in"]["list"] == ["Infinity", "-Infinity", 1.0] and line["text"] == "Infinity and beyond"
    assert [number(value) for value in line["in"]["list"]] == [math.inf, -math.inf, 1.0]
    assert math.isnan(number(line["nan"]) or 0)
    others: list[Any] = ["1", True, None, [], "nan", 10**400]
    assert [number(value) for value in others] == [None] * 6


@pytest.mark.parametrize(
    "torn", ['{"n": 2, "text": "ha', "{", '{"n": 2}garbage', "\0" * 5000, '{"n": 1', "x" * 300_000]
)
def test_a_torn_last_line_does_not_damage_the_next(torn: str, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    for whole in ([], [{"n": 0}, {"n": 1}]):
        journal.path.write_text("".join(json.dumps(line) + "\n" for line in whole) + torn)
        assert journal.read() == whole
        journal.append({"n": 3})
        assert strictly(journal.path) == [*whole, {"n": 3}]


def test_a_last_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.path.write_text('{"n": 0}\n{"n": 1}')
    assert journal.read() == [{"n": 0}, {"n": 1}]
    journal.append({"n": 2})
    assert strictly(journal.path) == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_broken_lines_are_left_out_and_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    deep = "[" * 100_000
    broken = [b"half", b"[1]", b"\xff{}", b'{"n": ' + b"9" * 5000 + b"}", b'{"n": ' + deep.encode() + b"}", b"null"]
    journal.path.write_bytes(b'{"n": 1}\n' + b"\n".join(broken) + b'\n\n  \n{"n": 2}\r\n{"other": 3}\n')
    for _ in range(2):
        assert journal.read(lambda line: "n" in line) == [{"n": 1}, {"n": 2}]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "lines 2, 3, 4, 5, 6 and 2 more" in said and str(journal.path) in said


def test_a_line_that_is_half_written_on_a_full_disk_is_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"n": 0})
    before = journal.path.read_bytes()
    for room in (0, 1, 5, 8, 30):
        with files_no_larger_than(len(before) + room), pytest.raises(OSError):
            journal.append({"n": 1}, {"text": "x" * 40})
        assert journal.path.read_bytes() == before
    with files_no_larger_than(len(before) + 3):
        for n in (2, 3):
            with pytest.raises(OSError):
                journal.keep({"n": n})
    journal.keep({"n": 4})
    assert journal.read() == [{"n": 0}, {"n": 2}, {"n": 3}, {"n": 4}] and not journal.waiting


def test_a_cut_drops_only_unwanted_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.cut(lambda line: True)
    assert not journal.path.exists()
    journal.append(*({"n": n} for n in range(5)))
    with journal.path.open("a") as stream:
        stream.write("broken\n")
    journal.waiting.append(b'{"n": 9}\n')
    journal.cut(lambda line: line["n"] % 2 == 0)
    assert strictly(journal.path) == [{"n": 0}, {"n": 2}, {"n": 4}] and not journal.waiting
    node = journal.path.stat().st_ino
    journal.cut(lambda line: True)
    assert journal.path.stat().st_ino == node, "there is nothing to drop, so nothing must be written"
    assert [path.name for path in tmp_path.iterdir()] == ["j.jsonl"]


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe"])
def test_only_a_plain_file_is_opened(kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    path = tmp_path / "run" / "j.jsonl"
    path.parent.mkdir()
    if kind in ("link", "dangling"):
        path.symlink_to(outside)
        if kind == "link":
            outside.write_text('{"secret": 1}\n')
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    for attempt in (lambda: Journal(path).append({"n": 1}), lambda: Journal(path).keep({"n": 1})):
        with pytest.raises(OSError):
            attempt()
    with pytest.raises(UserError, match="j.jsonl cannot be read"):
        Journal(path).read()
    assert not outside.exists() or outside.read_text() == '{"secret": 1}\n'


def test_a_training_run_does_not_wait_for_a_lock(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"n": 0})
    with journal.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            journal.keep({"n": 1})
        assert time.monotonic() - began < 2
    journal.keep({"n": 2})
    assert journal.read() == [{"n": 0}, {"n": 1}, {"n": 2}]


# several processes


def append_many(path: str, writer: int, n_lines: int) -> None:
    journal = Journal(Path(path))
    for n in range(n_lines):
        journal.append({"writer": writer, "n": n, "text": "x" * (n % 50 * 40)})


def cut_often(path: str, seconds: float) -> None:
    deadline, journal = time.monotonic() + seconds, Journal(Path(path))
    while time.monotonic() < deadline:
        journal.cut(lambda line: line["writer"] != "dropped")
        journal.append({"writer": "dropped", "n": 0})


def test_concurrent_writers_and_a_cutter_lose_and_mix_no_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    n_lines = 300
    processes = [fork.Process(target=append_many, args=(str(path), writer, n_lines)) for writer in range(3)]
    cutter = fork.Process(target=cut_often, args=(str(path), 1.5))
    for process in (*processes, cutter):
        process.start()
    for process in (*processes, cutter):
        process.join(60)
        assert process.exitcode == 0
    lines = [line for line in strictly(path) if line["writer"] != "dropped"]
    for writer in range(3):
        assert [line["n"] for line in lines if line["writer"] == writer] == list(range(n_lines))


def test_a_killed_writer_leaves_whole_lines_to_the_others(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    survivor = Journal(path)
    for trial in range(5):
        process = fork.Process(target=append_many, args=(str(path), trial, 10**6))
        process.start()
        while not any(line["writer"] == trial for line in survivor.read()):
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        survivor.append({"writer": "survivor", "n": trial})
        process.join()
    lines = survivor.read()
    assert [line["n"] for line in lines if line["writer"] == "survivor"] == list(range(5))
    for trial in range(5):
        numbers = [line["n"] for line in lines if line["writer"] == trial]
        assert numbers and numbers == list(range(len(numbers)))


def test_two_thousand_small_files_are_read_at_once(tmp_path: Path) -> None:
    line = {key: "some text" for key in "abcdefghijkl"} | {"value": 0.1234567890123, "iteration": 12345}
    for n in range(200):
        Journal(tmp_path / f"{n}.jsonl").append(*[line] * 20)
    began = time.process_time()
    assert sum(len(Journal(tmp_path / f"{n}.jsonl").read()) for n in range(200)) == 4000
    assert time.process_time() - began < 0.5  # a tenth of 2,000 runs


PIECES = [
    '{"a": 1}',
    '{"b": [{}',
    "{}]}",
    "{},{}",
    '{"c": 1',
    '"d": 2}',
    "[1]",
    "",
    " ",
    '{"e": NaN}',
    '{"é": "\u2028"}',
]
ENDS = ["\n", "\r\n", "", "\n\n"]


def test_parsing_lines_together_equals_parsing_each(tmp_path: Path) -> None:
    chance = random.Random(0)
    path = tmp_path / "x.jsonl"
    for _ in range(1000):
        lines = [chance.choice(PIECES[:: chance.choice((1, 9))]) for _ in range(chance.randint(0, 4))]
        path.write_bytes((chance.choice(ENDS[:2]).join(lines) + chance.choice(ENDS)).encode())
        journal = Journal(path)
        found, broken = journal.read(), list(journal.broken)
        assert repr(found) == repr([line for _, line in journal.since(0)]) and broken == journal.broken, lines
