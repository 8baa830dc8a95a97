"""A command that reads runs imports nothing from the folder where it is started."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frame.commands.beside import Beside, trust
from frame.commands.main import main
from frame.composition.folders import OwnFolder
from tests.system.test_releases import RELEASES

SHADOWS: tuple[str, ...] = (
    "numpy",
    "yaml",
    "torch",
    "sitecustomize",
    "usercustomize",
    "pandas",
    "matplotlib",
    "omegaconf",
    "sqlite3",
)
SHADOWS += ("pathlib", "json", "safetensors", "lightning", "hydra", "umap", "onnx", "resource", "hydra_plugins")


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A stranger's folder: a run, a config/, and modules with the names of ours and of libraries."""
    shutil.copytree(RELEASES[-1], tmp_path / "runs" / "release" / "first")
    shutil.copytree(RELEASES[-1], tmp_path / "runs" / "release" / "second")
    (tmp_path / "config" / "evaluation").mkdir(parents=True)
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r} + '\\n')\n")
    return tmp_path


WORDS = {
    "list": ["list", "runs"],
    "show": ["show", "runs/release/first"],
    "evaluate": ["evaluate", "runs/release/first", "evaluation=[elbo]", "again=true"],
    "export": ["export", "runs/release/first"],
    "compare": ["compare", "runs", "rows=params.beta", "metrics=[ELBO/Validation]"],
    "plot": ["plot", "runs", "x=params.beta", "y=ELBO/Validation"],
    "report": ["report", "runs"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("start", ["-m", "script"])
def test_modules_of_the_folder_are_not_imported(name: str, start: str, strange: Path) -> None:
    how = ["-m", "frame"] if start == "-m" else [str(Path(sys.executable).with_name("frame"))]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(Path(importlib.import_module("frame").__path__[0]).parent)
    done = subprocess.run(
        [sys.executable, *how, *WORDS[name]], cwd=strange, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert not (strange / "imported").exists(), (strange / "imported").read_text()


def test_the_path_stays_as_it_was(strange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(strange)
    before = list(sys.path)
    for words in (WORDS["evaluate"], WORDS["compare"], WORDS["list"]):
        assert main(words) == 0
    assert sys.path == before and not (strange / "imported").exists()


def test_a_named_package_is_found_after_all_installed_ones(strange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(strange)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(OwnFolder, "folder", None)
    (strange / "orchard_pear.py").write_text("import orchard_seed\nx = orchard_seed.x\n")
    (strange / "orchard_seed.py").write_text("x = 3\n")
    trust([])
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("orchard_pear")
    trust(["orchard_pear.models"])
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("orchard_seed")  # it is not named, and the folder is no longer on the path
    assert importlib.import_module("orchard_pear").x == 3
    assert Beside(strange, ["numpy"]).find_spec("numpy") is not None and sys.modules["numpy"].__file__ != str(strange)
    assert not (strange / "imported").exists()
