"""`frame new KIND NAME like=PATTERN`: what is written composes, has no name that is missing, and its tests pass."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from frame.commands.like import Copy, copied, find, patterns
from frame.commands.main import main
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import OwnFolder
from tests.processes import python

ALL = [(kind, option) for kind in ("model", "data", "architecture", "evaluation") for option in patterns(kind)]
ONE_EACH = [("model", "SimCLR"), ("data", "views"), ("architecture", "encoder/resnet18"), ("evaluation", "knn")]
SLOW_ONES = [
    ("model", "VQVAE"),
    ("model", "CORAL"),
    ("model", "DINO"),
    ("data", "gaussians"),
    ("evaluation", "calibration"),
]
SLOW_ONES += [("architecture", "decoder/residual"), ("architecture", "projector/mlp"), ("evaluation", "elbo")]


@pytest.fixture(scope="module")
def copies() -> dict[tuple[str, str], Copy]:
    """A copy of everything that can be a pattern."""
    return {(kind, option): copied(find(kind, option), f"Own{i}", f"Own{i}") for i, (kind, option) in enumerate(ALL)}


def test_each_copy_has_all_names_and_no_import_too_many(copies: dict[tuple[str, str], Copy], tmp_path: Path) -> None:
    for i, copy in enumerate(copies.values()):
        assert f"Own{i}" in {node.name for node in ast.parse(copy.source).body if isinstance(node, ast.ClassDef)}
        (tmp_path / f"Own{i}.py").write_text(copy.source)
        (tmp_path / f"test_Own{i}.py").write_text(copy.test)
    check = ["ruff", "check", "--isolated", "--select", "F,E501", "--line-length", "120", "--no-cache", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_each_copy_is_imported(copies: dict[tuple[str, str], Copy], tmp_path: Path) -> None:
    for i, copy in enumerate(copies.values()):
        file = tmp_path / f"Own{i}.py"
        file.write_text(copy.source)
        spec = importlib.util.spec_from_file_location(f"Own{i}", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[f"Own{i}"] = module  # dataclasses look there
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[f"Own{i}"]


def test_each_copy_has_an_experiment_that_names_it(copies: dict[tuple[str, str], Copy]) -> None:
    for i, copy in enumerate(copies.values()):
        assert f"_target_: Own{i}.Own{i}" in copy.yaml
        assert f"Own{i}" in copy.experiment_text.partition("\ndefaults:")[2]
        assert "Result: Not yet measured." in copy.experiment_text and copy.experiment in copy.experiment_text


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "option"), ALL, ids=[f"{kind}-{option}" for kind, option in ALL])
def test_each_experiment_composes(
    kind: str, option: str, copies: dict[tuple[str, str], Copy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copies[kind, option]
    pattern = find(kind, option)
    for place, text in ((f"{pattern.group}/Own{ALL.index((kind, option))}", copy.yaml),) + (
        (f"experiment/{copy.experiment}", copy.experiment_text),
    ):
        file = tmp_path / "config" / f"{place}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(OwnFolder, "folder", tmp_path / "config")
    config = compose([f"experiment={copy.experiment}"])
    assert f"Own{ALL.index((kind, option))}.Own" in str(config)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "option"), ONE_EACH + SLOW_ONES)
def test_its_tests_pass(kind: str, option: str, tmp_path: Path) -> None:
    start = (
        f"import sys; from frame.commands.main import main; sys.exit(main(['new', {kind!r}, 'Mine', 'like={option}']))"
    )
    done = python(start, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrote" in done.stdout and (tmp_path / "Mine.py").is_file()
    ran = python("import pytest; raise SystemExit(pytest.main(['-q', '-x', 'tests']))", tmp_path)
    assert ran.returncode == 0 and " passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("kind", "option", "says"),
    [
        ("model", "SimCRL", "no model 'SimCRL': did you mean 'SimCLR'"),
        ("architecture", "mlp", "there are several, write one of like=body/mlp"),
        ("logger", "wandb", "like= is for model, data, architecture, evaluation"),
        ("data", "nothing", "no data 'nothing'"),
    ],
)
def test_a_pattern_that_is_not_there_is_one_line(
    kind: str,
    option: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", kind, "Own", f"like={option}"]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1, error
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError):
        find(kind, option)
