"""What is printed can neither stop a command nor take hold of a terminal: real pipes, real disks, real terminals."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from frame.common.output import Stream, encoded, guarded, plain
from frame.runs.checkpoints import read
from frame.runs.folder import RunFolder
from tests.processes import OWN, Process, only_run
from tests.slow import slow_but
from tests.system.test_resume import same

TINY = ["train", "--config-dir", str(OWN / "config"), "experiment=tiny"]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a name\n\twith tabs\n", "a name\n\twith tabs\n"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),  # the same in one byte
        ("a\b\b\x7f", "a\\x08\\x08\\x7f"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("\u2066a\u2069 \u200f", "\\u2066a\\u2069 \\u200f"),
        ("a\u2028b", "a\\u2028b"),
        ("finished\rfailed", "finished\\x0dfailed"),
        ("of Windows\r\n", "of Windows\r\n"),
        ("\rbar  12%\r", "\rbar  12%\r"),
        ("\r\r\x1b[2K\r", "\r\r\\x1b[2K\r"),
        ("\r", "\r"),
        ("", ""),
        ("no text: \udcff", "no text: \\xff"),
        ("half: \ud83d", "half: \\ud83d"),
        ("ELBO ± 0.1 · Größe 😀 你好 नमस्ते", "ELBO ± 0.1 · Größe 😀 你好 नमस्ते"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    "text, encoding, shown",
    [
        ("1 ± 0.1 · 2 … 3", "ascii", "1 +- 0.1 - 2 ... 3"),
        ("│ ├── └─┐ ║ ═ ╭ █ ▌", "ascii", "| +-- +-+ | = + # #".replace("=", "-")),
        ("– — − × → ≤ ≥ ‘a’ “b”", "ascii", "- - - x -> <= >= 'a' \"b\""),
        ("Größe β 你 😀", "ascii", "Grosse".replace("ss", "?") + " beta ? ?"),
        ("1 ± 0.1 β …", "latin-1", "1 ± 0.1 beta ..."),
        ("1 ± 0.1 β …", "utf-8", "1 ± 0.1 β …"),
    ],
)
def test_characters_that_an_encoding_lacks_are_replaced_by_similar_ones(text: str, encoding: str, shown: str) -> None:
    assert encoded(text, encoding).decode(encoding) == shown


def test_a_closed_pipe_is_not_an_error_for_us_or_for_libraries() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = Stream(None, writing)
    for _ in range(3):
        print("a line", file=stream, flush=True)
    assert not stream.lost
    assert os.write(writing, b"past us") == 7  # a library that writes to the descriptor has no error, either
    os.close(writing)
    print("closed", file=stream, flush=True)


def test_a_full_disk_is_reported() -> None:
    with open("/dev/full", "w") as full:
        stream = Stream(full, full.fileno())
        print("a line", file=stream, flush=True)
        assert stream.lost == "No space left on device"
        stream.release()


def test_a_pipe_that_is_slow_gets_everything_whether_or_not_it_blocks() -> None:
    for blocks in (True, False):
        reading, writing = os.pipe()
        os.set_blocking(writing, blocks)
        got: list[bytes] = []

        def slowly(reading: int = reading, got: list[bytes] = got) -> None:
            while piece := os.read(reading, 50_000):
                got.append(piece)
                time.sleep(0.002)

        reader = threading.Thread(target=slowly)
        reader.start()
        print("x" * 1_000_000, file=Stream(None, writing), flush=True)
        os.close(writing)
        reader.join()
        os.close(reading)
        assert b"".join(got) == b"x" * 1_000_000 + b"\n"


def test_a_handler_that_prints_while_something_is_printed_loses_nothing() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
    stream = Stream(None, writing)
    before = signal.signal(signal.SIGALRM, lambda *_: print("tick", file=stream))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for number in range(3000):
            print(f"line {number}", file=stream)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    stream.flush()
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    assert len(re.findall(r"line \d+", text)) == 3000


def test_a_stream_that_is_not_a_file_is_written_to_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(sys, "stdout", page)
    with guarded():
        print("in a notebook\x1b[2J ±")
        inside = sys.stdout
        with guarded():
            assert sys.stdout is inside
    assert sys.stdout is page and page.getvalue() == "in a notebook\\x1b[2J ±\n"
    page.close()
    with guarded():
        print("it was closed", flush=True)


def terminal() -> tuple[int, int]:
    """A terminal's own end, and the one that a command writes to."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return ours, theirs


def test_a_bar_is_drawn_and_the_name_in_it_is_escaped() -> None:
    ours, theirs = terminal()
    stream = Stream(None, theirs)
    with tqdm(total=10, desc="a \x1b[31m\rname", file=stream, mininterval=0) as bar:
        for _ in range(10):
            bar.update()
    assert stream.isatty()
    drawn = b""
    while b"10/10" not in drawn and select.select([ours], [], [], 10)[0]:  # a terminal passes on a part at a time
        drawn += os.read(ours, 10_000)
    assert b"\x1b" not in drawn and drawn.count(b"\ra \\x1b[31m\\x0dname: ") > 5 and b"10/10" in drawn
    os.close(ours)
    print("nobody is there", file=stream, flush=True)
    os.close(theirs)


PRINTS = """
import contextlib, os, sys
from frame.common.output import guarded
with guarded():
    mine = open(sys.argv[1], "w")  # its descriptor must not be one that a library uses as stdout
    for number in (1, 2):
        with contextlib.suppress(OSError):
            os.write(number, b"from a library\\n")
    print("± \\x1b[31m" + "a line " * 20, flush=True)
    print("· …", file=sys.stderr)
    print("no end of line", end="")
    sys.stdin.isatty()
    mine.write("mine")
sys.exit(7)
"""


TO = ("", ">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1")
ENDS = ("", "| true", "| head -c 1")


@pytest.mark.parametrize(
    ("to", "ends"), slow_but([(to, ENDS[i % 3]) for i, to in enumerate(TO)], [(to, end) for to in TO for end in ENDS])
)
def test_python_ends_with_the_commands_exit_code(to: str, ends: str, tmp_path: Path) -> None:
    script = f'"$0" -c "$1" "$2" {to} {ends}; echo "${{PIPESTATUS[0]}}" >&9'
    words = ["bash", "-c", f"exec 9>{tmp_path / 'code'}; {script}", sys.executable, PRINTS, str(tmp_path / "mine")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (tmp_path / "code").read_text() == "7\n", done.stderr
    assert (tmp_path / "mine").read_text() == "mine"
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr and "\x1b" not in done.stdout


@pytest.mark.parametrize("name, value", [("PYTHONIOENCODING", "ascii"), ("LC_ALL", "C")])
def test_a_terminal_that_has_only_ascii(name: str, value: str, tmp_path: Path) -> None:
    environment = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON") or key == "PYTHONPATH"}
    words = [sys.executable, "-c", PRINTS, str(tmp_path / "mine")]
    done = subprocess.run(words, capture_output=True, env={**environment, name: value})
    assert done.stdout.startswith(b"from a library\n+- \\x1b[31ma line") and done.stderr.endswith(b"- ...\n")
    assert done.returncode == 7


def run_of(cwd: Path) -> RunFolder:
    cwd.mkdir()
    run = RunFolder(cwd / "runs/old/2026")
    run.path.mkdir(parents=True)
    (run.path / "config.yaml").write_text("experiment_name: old\nseed: 1\n")
    (run.path / "overrides.yaml").write_text("[]\n")
    run.set_status("finished")
    return run


def test_commands_that_only_print_succeed_if_the_reader_stops_and_fail_if_the_disk_is_full(
    tmp_path: Path,
) -> None:
    run_of(tmp_path / "a")
    frame = f"{sys.executable} -m frame"
    for command, code in (
        (f"{frame} list | head -1", 0),
        (f"{frame} list | true", 0),
        (f"{frame} list >/dev/full", 1),
        (f"{frame} train --help >/dev/full", 1),
        (f"{frame} list 2>/dev/full", 0),
        (f"{frame} list nowhere 2>/dev/full", 2),
        (f"{frame} list nowhere 2>&-", 2),
    ):
        script = f"{command}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path / "a", capture_output=True, text=True)
        assert done.returncode == code, (command, done.stderr)
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
        assert code != 1 or "could not be written: No space left on device" in done.stderr


# A run that trains


@pytest.fixture(scope="module")
def reference(tiny_run: Path) -> dict[str, Any]:
    return read(tiny_run / "checkpoints/last.ckpt")


def assert_finished(cwd: Path, code: int, reference: dict[str, Any]) -> None:
    assert code == 0
    run = RunFolder(only_run(cwd))
    assert run.status["state"] == "finished"
    ours = read(run.path / "checkpoints/last.ckpt")
    assert same(ours["model"], reference["model"]) and same(ours["players"], reference["players"])
    assert len(run.records) > 0 and (run.path / "metrics.csv").exists()


@pytest.mark.parametrize("into", ["/dev/full", "a reader that goes away"])
def test_training_ends_normally_whatever_happens_to_its_output(
    into: str, tmp_path: Path, reference: dict[str, Any]
) -> None:
    if into == "/dev/full":
        assert_finished(tmp_path, Process(TINY, tmp_path, into).wait(), reference)
        return
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    process = Process([*TINY, "callbacks.elbo_valid.evaluate_every=1 iteration"], tmp_path, str(tmp_path / "pipe"))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("runs/tiny/*/records.jsonl")):
        time.sleep(0.01)
    os.close(reading)
    assert_finished(tmp_path, process.wait(), reference)


def test_training_continues_if_its_terminal_is_closed(tmp_path: Path, reference: dict[str, Any]) -> None:
    ours, theirs = terminal()
    slow = "+callbacks.slow={_target_: frame.callbacks.EvaluationCallback, name: Slow, evaluate_every: 1 iteration,"
    slow += " evaluator: {_target_: toys.Slow, seconds: 0.05}}"
    process = Process([*TINY, slow], tmp_path, os.ttyname(theirs))
    drawn, deadline = b"", time.monotonic() + 60
    while drawn.count(b"\rtiny") < 3 and time.monotonic() < deadline:
        if select.select([ours], [], [], 1)[0]:
            drawn += os.read(ours, 1000)
    assert drawn.count(b"\rtiny") >= 3
    os.close(theirs)
    os.close(ours)
    assert process.wait() == 0
    assert RunFolder(only_run(tmp_path)).status["state"] == "finished"
    assert same(read(only_run(tmp_path) / "checkpoints/last.ckpt")["model"], reference["model"])
