"""`--help` of every command: all keys with their defaults, examples that can be typed, in 100 columns, at once."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from frame.commands import help as helps
from frame.commands.main import main
from frame.commands.parser import Command, Key, parse
from frame.commands.readers import OneOf, known, looks, text


@pytest.mark.parametrize("name", helps.names())
def test_each_command_shows_its_keys_with_defaults_and_two_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = helps.command(name)
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(command.usage + "\n") and max(map(len, shown.splitlines())) <= helps.WIDTH
    assert all(f"\n  {key}=" in shown for key in command.keys)
    words = " ".join(shown.split())
    for key in command.keys.values():
        assert key.what in words and (not key.default or f"(default: {key.default})" in words)
    assert len(command.examples) >= 2 and all(line in shown for line, _ in command.examples)


@pytest.mark.parametrize("name", helps.names())
def test_each_example_is_read_by_the_parser(name: str) -> None:
    for line, _ in helps.command(name).examples:
        frame, command, *words = shlex.split(line)
        assert (frame, command) == ("frame", name)
        parse(helps.command(name), [word for word in words if word not in ("--cfg", "job")])


@pytest.mark.parametrize("name", helps.names())
def test_each_key_has_a_text_and_a_default_that_its_reader_knows(name: str) -> None:
    for key, option in helps.command(name).keys.items():
        assert option.what and not option.what.endswith("."), key
        assert option.looks or looks(option.read) != "VALUE", f"{key}: say how it looks"
        if isinstance(option.read, OneOf) and option.default.isidentifier():
            assert option.default in (*known(option.read), "none"), key


def test_the_overview_names_all_commands_in_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in helps.names()) and max(map(len, shown.splitlines())) <= helps.WIDTH


def test_a_long_name_has_a_line_of_its_own_and_long_examples_stand_below_what_they_do() -> None:
    wide = Command("x", "RUN", "does it", {"a" * 40: Key(text, "long " * 30, "none")}, [("frame x " + "b" * 90, "it")])
    lines = helps.help_of(wide).splitlines()
    assert f"  {'a' * 40}=TEXT" in lines and lines[-2:] == ["  # it", "  frame x " + "b" * 90]
    assert max(len(line) for line in lines[:-1]) <= helps.WIDTH


def test_help_imports_neither_torch_nor_hydra() -> None:
    code = (
        "import sys; from frame.commands.main import main; main(['evaluate', '--help']); main(['train', '--help']);"
        "slow = {'torch', 'numpy', 'lightning', 'hydra', 'omegaconf', 'yaml'};"
        "print(sorted({name.split('.')[0] for name in sys.modules} & slow))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
