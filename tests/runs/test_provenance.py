"""The code that made a run, in its folder."""

import json
import stat
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from frame.runs.provenance import describe_code, environment, own_sources


def commit(folder: Path, *files: str) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-f", *files], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)


def test_files_that_cannot_be_restored_are_named_in_one_line_and_in_code_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / ".gitignore").write_text("run\n")
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "mine.py").write_text("one = 1\n")
    commit(tmp_path, ".env", "mine.py")
    monkeypatch.chdir(tmp_path)
    assert describe_code(run, {}, tmp_path, "") == ""
    code = json.loads((run / "code.json").read_text())
    assert code["restores"] is True and code["dirty"] is False and code["untracked"] == [".gitignore"]
    assert code["sources"] == own_sources()  # a config without modules of the user
    (tmp_path / ".env").write_text("WANDB_API_KEY=hunter2\n")
    (tmp_path / "mine.py").write_text("one = 2\n\n")
    said = describe_code(run, {}, tmp_path, "")
    assert said == "code.diff does not put back .env (may hold secrets)"
    code = json.loads((run / "code.json").read_text())
    assert code["restores"] is False and code["dirty"] and code["left_out"] == {".env": "may hold secrets"}
    assert "hunter2" not in (run / "code.diff").read_text()
    assert stat.S_IMODE((run / "code.diff").stat().st_mode) == 0o600


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert describe_code(tmp_path, {}, tmp_path, "") == ""
    code = json.loads((tmp_path / "code.json").read_text())
    assert code["commit"] is None and code["restores"] is None and (tmp_path / "code.diff").read_bytes() == b""


def test_all_installed_packages_are_listed_with_their_versions() -> None:
    found = environment()["packages"]
    assert found == {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    assert found["torch"] == metadata.version("torch")
