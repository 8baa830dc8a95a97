"""Links out of a run's folder are never followed, and names are never paths."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from frame.commands.main import main
from frame.common import inside
from frame.common.errors import Damaged
from frame.common.inside import check, is_file, name_of
from frame.runs.folder import RunFolder
from frame.sharing.export import option_of
from tests.system.test_releases import RELEASES


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RELEASES[-1], tmp_path / "runs" / "release" / "first"))


def outside(tmp_path: Path) -> dict[str, Path]:
    """Files and folders beside the runs, which must not change."""
    there = tmp_path / "private"
    (there / "folder" / "below").mkdir(parents=True)
    (there / "secret.txt").write_text("a secret\n")
    (there / "folder" / "00000099.png").write_bytes((RELEASES[-1] / "checkpoints" / "best.ckpt").read_bytes()[:400])
    return {"file": there / "secret.txt", "folder": there / "folder", "dangling": there / "nothing"}


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes() if file.is_file() else b"", file.lstat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
    }


FILES: tuple[str, ...] = ("records.jsonl", "metrics.csv", "metrics.jsonl", "lock", "status.json", "evaluated.jsonl")
FILES += ("code.diff",)
FILES += ("config.yaml", "overrides.yaml", "costs.json", "code.json", "environment.json", "data.json", "doctor.jsonl")
FILES += ("checkpoints/last.ckpt", "checkpoints/previous.ckpt", "images/Samples/00000040.png", "cache/x.pt")
FOLDERS = ("images", "cache", "checkpoints", "tables", "images/Samples", "tables/x")
COMMANDS: tuple[Callable[[str], list[str]], ...] = (
    lambda run: ["evaluate", run, "evaluation=[elbo]", "again=true"],
    lambda run: ["export", run],
    lambda run: ["train", f"resume={run}", "train_for=5 epochs"],
    lambda run: ["show", run],
    lambda run: ["list", run],
)


@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_no_command_follows_a_link(
    kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = outside(tmp_path)[kind]
    before = content(target.parent)
    monkeypatch.chdir(tmp_path)
    for name in FILES if kind == "file" else FOLDERS if kind == "folder" else (*FILES, *FOLDERS):
        strange = Path(shutil.copytree(run, tmp_path / "runs" / "strange"))
        place = strange / name
        if place.is_dir():
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        for words in COMMANDS:
            code = main(words(str(strange)))
            said = capsys.readouterr()
            assert code == 2 or words("")[0] in ("show", "list"), (name, words(""), said)
            assert "a secret" not in said.out + said.err and len(said.err.splitlines()) <= 4
        shutil.rmtree(strange)
    assert content(target.parent) == before and not (tmp_path / "exports").exists()


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("config.yaml", "records.jsonl", "status.json", "metrics.csv", "lock", "overrides.yaml"):
        kept = run.with_name("kept")
        (run / name).rename(kept) if (run / name).exists() else kept.write_text("")
        os.mkfifo(run / name)
        for words in COMMANDS:
            assert main(words(str(run))) == 2 or words("")[0] in ("show", "list"), (name, words(""))
        (run / name).unlink()
        kept.rename(run / name)


def test_the_runs_folder_itself_may_be_a_link_and_windows_may_hold_some(run: Path, tmp_path: Path) -> None:
    (run / "wandb").mkdir()
    (run / "wandb" / "latest-run").symlink_to("nowhere")
    (tmp_path / "mine").symlink_to(run)
    assert RunFolder.existing(tmp_path / "mine").plain["experiment_name"] == "release"
    (run / "tensorboard").symlink_to(tmp_path)
    with pytest.raises(Damaged, match=r"tensorboard is a link, .*: remove it$"):
        check(run)
    os.link(run / "config.yaml", tmp_path / "second_name")
    (run / "tensorboard").unlink()
    check(run)
    assert is_file(run / "config.yaml") and not is_file(run / "wandb" / "latest-run") and not is_file(run)


@pytest.mark.parametrize(
    "text", ["../../x", "/etc/x", "..", ".", "", "a/../b", "a\0b", "é" * 500, "x" * 5000, "\udcff"]
)
def test_any_text_becomes_one_name(text: str, tmp_path: Path) -> None:
    name = name_of(text)
    assert name not in (".", "..", "") and "/" not in name and "\0" not in name and len(name.encode()) <= 120
    (tmp_path / f"{name}.png").write_text("")
    assert [file.parent for file in tmp_path.rglob("*.png")] == [tmp_path]


def test_ordinary_names_stay_and_long_ones_stay_apart() -> None:
    assert name_of("ELBO/Validation") == "ELBO_Validation" and name_of("beta=1.0, seed 3") == "beta=1.0_ seed 3"
    assert name_of("x" * 300 + "a") != name_of("x" * 300 + "b")


def test_an_experiments_name_is_not_a_path_in_an_export(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    for name in ("../../x", "/tmp/x", "a\0b", "n" * 400):
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "experiment_name": name}))
        assert main(["export", str(run)]) == 0, capsys.readouterr()
        assert {path.parent for path in tmp_path.rglob("export.json")} == set((tmp_path / "exports").iterdir())
        (experiment,) = (tmp_path / "exports").glob("*/source/config/experiment/*.yaml")
        assert experiment.stem == option_of(name)
        shutil.rmtree(tmp_path / "exports")
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_a_file_that_goes_while_the_folder_is_checked_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".previous.ckpt.abcdefgh").write_text("")
    (tmp_path / "last.ckpt").symlink_to(tmp_path / "elsewhere")
    below = inside._below

    def gone(folder: Path) -> Iterator[os.DirEntry[str]]:
        entries = list(below(folder))
        (tmp_path / ".previous.ckpt.abcdefgh").unlink()
        return iter(sorted(entries, key=lambda entry: entry.name))

    monkeypatch.setattr(inside, "_below", gone)
    with pytest.raises(Damaged, match="last.ckpt is a link"):  # what follows is looked at
        check(tmp_path)
