"""Printed commands can be pasted: a shell reads each word unchanged."""

import subprocess
from pathlib import Path

import pytest

from frame.common.shell import pasted

NAMES = [
    "plain",
    "a b",
    "it's",
    'say "x"',
    "old [1]",
    "a*b?",
    "$HOME",
    "a;b&c|d",
    "ä→",
    "a=b",
    "`x`",
    "!a",
    "~",
    "#a",
    "a\\b",
]


@pytest.mark.parametrize("name", [*NAMES, "line\nline", "tab\t'q'\\", "\x1b[31m"])
def test_a_shell_takes_each_word_as_it_is(name: str) -> None:
    line = pasted("printf", "%s|", name, "resume=" + name)
    assert "\n" not in line
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == f"{name}|resume={name}|"


def test_a_path_is_not_an_option(tmp_path: Path) -> None:
    (tmp_path / "-la").mkdir()
    done = subprocess.run(["bash", "-c", pasted("ls", "-d", Path("-la"))], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "./-la\n"
