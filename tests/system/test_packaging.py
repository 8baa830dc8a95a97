"""Packaging: versions, the conda environment, and the wheel in another folder."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BANNED = {"torchvision", "timm", "lightly"}  # they do not import beside a torch without CUDA


def requirements() -> list[Requirement]:
    extras = [text for group in PROJECT["optional-dependencies"].values() for text in group]
    return [Requirement(text) for text in [*PROJECT["dependencies"], *extras]]


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_pins_are_in_the_declared_ranges() -> None:
    for requirement in requirements():
        pin = pins()[canonicalize_name(requirement.name)]
        assert pin in requirement.specifier, f"{requirement} and the pin {pin}"


def test_all_installed_packages_are_pinned() -> None:
    """The version of a package that is not in constraints.txt could change at any time."""
    waiting = [(canonicalize_name(r.name), frozenset(r.extras)) for r in requirements()]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        assert name in pins(), f"{name} is required but not in constraints.txt"
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # the extra `bench` is not always installed
            continue
        for requirement in map(Requirement, needed):
            environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if requirement.marker is None or any(requirement.marker.evaluate(e) for e in environments):
                entry = (canonicalize_name(requirement.name), frozenset(requirement.extras))
                if entry not in seen and entry[0] not in ("pip", "setuptools", "wheel"):
                    seen.add(entry)
                    waiting.append(entry)


def test_malicious_lightning_is_excluded() -> None:
    lightning = next(r for r in requirements() if r.name == "lightning")
    assert [v for v in ("2.6.1", "2.6.2", "2.6.3", "2.6.6") if v in lightning.specifier] == ["2.6.1", "2.6.6"]
    assert pins()["pytorch-lightning"] == pins()["lightning"]


def test_nothing_that_needs_cuda_is_used() -> None:
    assert not BANNED & {canonicalize_name(r.name) for r in requirements()}
    assert not BANNED & set(pins())
    for folder in ("frame", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                assert not BANNED & {name.split(".")[0] for name in names}, file


def test_conda_environment_is_the_same_as_make_install() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "frame"
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    assert f"{python.split('=')[1]}.0" in Requirement(f"python{PROJECT['requires-python']}").specifier
    assert "pip" in environment["dependencies"]
    by_pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert by_pip == ["-c constraints.txt", "-e .[dev]"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(words in makefile.replace("'", "") for words in by_pip)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's files and its console script, and nothing of this clone."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def frame(installed: Path, folder: Path, *words: str) -> str:
    """`frame <words>` of the wheel, started in `folder`; its output."""
    # PYTHONPATH comes before the clone's editable install
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(installed)}
    command = [str(installed / "bin" / "frame"), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_wheel_holds_every_config_and_module(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    ours = [f"frame/{file.relative_to(ROOT)}" for file in (ROOT / "config").rglob("*.yaml") if file.stem != "mine"]
    ours += [str(file.relative_to(ROOT)) for file in (ROOT / "frame").rglob("*.py")]
    ours += [str(file.relative_to(ROOT)) for file in (ROOT / "frame" / "commands" / "templates").glob("*.yaml")]
    assert len(ours) > 60
    assert not set(ours) - held
    assert not [
        name for name in held if not name.startswith(("frame/", "frame_representations-"))
    ]  # neither tests nor benchmarks


def test_wheel_composes_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(frame(installed, tmp_path, "train", "--cfg", "job", "+experiment=digits_VAE"))
    assert config["model"]["_target_"] == "frame.models.VAE.VAE"
    assert config["device"]["experiments_root"] == "./runs"
    assert not list(tmp_path.iterdir())


MINE = '''
"""A user's own model."""

from frame.models.VAE import VAE


class Gentle(VAE):
    def compute_loss(self, batch):
        losses = super().compute_loss(batch)
        return {**losses, "gentleness": losses["rate"].detach()}
'''


@pytest.mark.slow
def test_wheel_trains_a_users_model(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "config" / "model").mkdir(parents=True)
    (tmp_path / "config" / "model" / "gentle.yaml").write_text(
        "defaults: [VAE, _self_]\n_target_: mine.Gentle\n"  # the rest is VAE's
    )
    (tmp_path / "config" / "experiment").mkdir()
    (tmp_path / "config" / "experiment" / "my_digits.yaml").write_text(
        "# @package _global_\ndefaults: [digits_VAE, override /model: gentle]\n"
    )
    said = frame(installed, tmp_path, "train", "+experiment=my_digits", "debug=fast", "callbacks=null")
    (run,) = (tmp_path / "runs" / "my_digits").iterdir()
    assert str(run.name) in said
    assert "gentleness" in (run / "metrics.csv").read_text()
    assert "_target_: mine.Gentle" in (run / "config.yaml").read_text()


@pytest.mark.slow
def test_wheel_trains_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    frame(installed, tmp_path, "train", "+experiment=digits_VAE", "debug=fast")
    (run,) = (tmp_path / "runs" / "digits_VAE").iterdir()
    assert '"finished"' in (run / "status.json").read_text()
    assert list((run / "images").rglob("*.png"))
