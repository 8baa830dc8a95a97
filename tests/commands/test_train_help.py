"""`frame train --help`."""

from pathlib import Path

import pytest
import yaml

from frame.commands.main import main
from frame.commands.train_help import CHOSEN, keys
from frame.composition.folders import config_folder


def test_help_lists_every_option_of_every_group_in_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    listed = {}
    groups = shown.partition("+experiment=NAME:\n")[2].partition("\n\n")[0].replace("\n      ", " ")
    for line in groups.splitlines():
        group, _, names = line.strip().partition(": ")
        listed[group] = names.split(", ")
    files = [file for file in config_folder().rglob("*.yaml") if file.parent != config_folder()]
    for file in files:
        assert file.stem in listed[file.parent.relative_to(config_folder()).as_posix()]
    assert sum(map(len, listed.values())) == len(files)


def test_help_lists_the_keys_of_every_run_with_their_defaults() -> None:
    config = yaml.safe_load((config_folder() / "config.yaml").read_text())
    shown = keys()
    assert shown["train_for=10 epochs"].startswith("also: 500 iterations") and "seeds.init=${seed}" in shown
    single = [key for key in config if not isinstance(config[key], (dict, list)) and key not in CHOSEN]
    assert {word.partition("=")[0] for word in shown} >= {*single, "checkpoint.every", "trainer.max_epochs"}


def test_help_lists_the_options_of_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for group, name in (("model", "Mine"), ("architectures/head", "wide")):
        (tmp_path / "config" / group).mkdir(parents=True)
        (tmp_path / "config" / group / f"{name}.yaml").write_text("# @package _global_\n")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "architectures/head: wide\n" in shown and "Mine," in shown
