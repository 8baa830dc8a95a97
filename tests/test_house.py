"""Rules for the package: imports go one way, config/ mirrors frame/, commands start quickly."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from frame.runs.names import PART

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted((ROOT / "frame").rglob("*.py"))
}
# A package imports those before it.
ORDER = (
    "common",
    "composition",
    "runs",
    "measures",
    "probability",
    "data",
    "models",
    "architectures",
    "loggers",
    "optimization",
    "evaluation",
    "callbacks",
    "engine",
    "analysis",
    "sharing",
    "sweeps",
    "sklearn",
    "commands",
)
# Modules with fewer allowed imports than ORDER gives.
ONLY = {
    "measures": ("frame.common",),
    "probability": ("frame.common", "frame.measures"),
    "data": ("frame.common", "frame.probability"),
    "models": ("frame.common", "frame.measures", "frame.probability", "frame.data.base"),
    "architectures": ("frame.common", "frame.probability", "frame.models.base"),
    "loggers": ("frame.common", "frame.runs"),
    "optimization": ("frame.common", "frame.models.base", "frame.data.base"),
    "evaluation": ("frame.common", "frame.measures", "frame.probability", "frame.models.base", "frame.data.base"),
}


def imported(tree: ast.AST, *, lazily: bool = True) -> set[str]:
    """Modules of frame that a file imports; `lazily`: inside functions too."""
    found: set[str] = set()
    nodes = ast.walk(tree) if lazily else ast.iter_child_nodes(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here: one name for one module"
            # `from frame import checks` imports a module, `from frame.composition.checks import check` a name in one
            found |= {m if (m := f"{node.module}.{a.name}") in MODULES else str(node.module) for a in node.names}
    return {name for name in found if name.split(".")[0] == "frame"}


def package_of(module: str) -> str:
    """'runs' for frame.runs.folder and frame.runs, '' for frame itself."""
    return (module.split(".") + [""])[1]


def below(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


def test_every_module_lies_in_a_package() -> None:
    assert {package_of(module) for module in MODULES} == {"", "__main__", *ORDER}


@pytest.mark.parametrize("module", [module for module in MODULES if package_of(module) in ORDER])
def test_imports_go_one_way(module: str) -> None:
    package = package_of(module)
    uses = imported(ast.parse(MODULES[module].read_text()))
    before = ORDER[: ORDER.index(package) + 1]
    assert not {name for name in uses - {"frame"} if package_of(name) not in before}, f"{package}/ imports {before}"
    if package in ONLY:
        allowed = (f"frame.{package}", *ONLY[package])
        assert not {name for name in uses if not below(name, allowed)}, f"{package}/ imports {allowed}"


def test_tests_mirror_the_package() -> None:
    """tests/x/test_y.py tests frame/x/y.py; tests/x/test_every_z.py tests common properties of a package."""
    for file in (ROOT / "tests").glob("*/test_*.py"):
        package, name = file.parent.name, file.stem.removeprefix("test_")
        if package in ORDER and not name.startswith("every_"):
            assert f"frame.{package}.{name}" in MODULES, file


def test_no_two_modules_import_each_other() -> None:
    graph = {name: imported(ast.parse(file.read_text()), lazily=False) for name, file in MODULES.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError with the cycle


def methods() -> set[str]:
    """Names of the classes in models/, base.py left out."""
    files = [file for file in (ROOT / "frame" / "models").glob("*.py") if file.stem not in ("base", "__init__")]
    trees = [ast.parse(file.read_text()) for file in files]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def test_procedures_and_evaluations_name_no_method() -> None:
    names = methods()
    assert {"VAE", "VIB", "Classifier"} <= names
    for folder in ("optimization", "evaluation", "callbacks"):
        for file in (ROOT / "frame" / folder).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                named = {
                    ast.Name: "id",
                    ast.Attribute: "attr",
                    ast.Constant: "value",  # getattr(models, "VAE") and type(model).__name__ == "VAE"
                }.get(type(node))
                assert named is None or getattr(node, named) not in names, f"{file}, line {node.lineno}"  # type: ignore[attr-defined]


# config/ and frame/

FOLDERS = {"model": "models", "data": "data", "optimization": "optimization"}
CONFIGS = [file for group in FOLDERS for file in sorted((ROOT / "config" / group).glob("*.yaml"))]
CONFIGS = [file for file in CONFIGS if "_target_" in file.read_text()]


def arguments(target: str, given: tuple[str, ...] = ()) -> set[str]:
    """The arguments of a constructor, without those that frame passes itself."""
    module, name = target.rsplit(".", 1)
    return set(inspect.signature(getattr(importlib.import_module(module), name)).parameters) - set(given)


def plain(file: Path) -> dict[str, Any]:
    """The node that a file builds: the file itself, or the node of its group if the file is `@package _global_`."""
    content = dict(yaml.safe_load(file.read_text()))
    return content if "_target_" in content else dict(content[file.parent.name])


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_config_mirrors_the_package(file: Path) -> None:
    config = plain(file)
    module, _, _ = config["_target_"].rpartition(".")
    assert module.rpartition(".")[0] == f"frame.{FOLDERS[file.parent.name]}"
    # batch_ADAM.yaml is batch.py with Adam
    assert re.fullmatch(rf"{module.rpartition('.')[2]}(_\w+)?", file.stem)
    given = ("model",) if file.parent.name == "optimization" else ()
    inner = {str(key).rpartition("@")[2] for entry in config.get("defaults", []) if entry != "_self_" for key in entry}
    keys = set(config) - {"_target_", "defaults"} | inner
    assert keys == arguments(config["_target_"], given), "YAML keys are the constructor's arguments"


@pytest.mark.parametrize("file", sorted((ROOT / "config" / "evaluation").glob("*.yaml")), ids=lambda file: file.stem)
def test_evaluations_take_the_keys_of_their_config(file: Path) -> None:
    config = plain(file)
    module, name = config["_target_"].rsplit(".", 1)
    assert module.startswith("frame.evaluation.")
    keys = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    assert PART.fullmatch(config.pop("name")), "callbacks log it under this name"
    assert list(config)[1:] == list(keys), "YAML keys are the constructor's arguments, in their order"
    head = " ".join(line[2:] for line in file.read_text().split("name:")[0].splitlines() if line.startswith("# "))
    assert re.search(r"\d m?s\b|\d min", head), "the first line says what it measures, its unit, and what it costs"


def test_every_evaluation_has_its_config() -> None:
    targets = {plain(file)["_target_"] for file in (ROOT / "config" / "evaluation").glob("*.yaml")}
    found = set()
    for file in (ROOT / "frame" / "evaluation").glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Evaluation") and node.name != "Evaluation":
                found.add(f"frame.evaluation.{file.stem}.{node.name}")
    assert len(found) > 25
    of_others = {"frame.evaluation.factors.FactorsEvaluation", "frame.evaluation.part.PartEvaluation"}
    assert found - targets == of_others


@pytest.mark.parametrize("file", sorted((ROOT / "config" / "logging").glob("*.yaml")), ids=lambda file: file.stem)
def test_loggers_take_the_keys_of_their_config(file: Path) -> None:
    for logger in (yaml.safe_load(file.read_text()) or {}).values():
        assert set(logger) - {"_target_"} <= arguments(logger["_target_"], ("folder", "config"))


def test_every_method_has_its_config() -> None:
    files = {f.stem for f in (ROOT / "frame" / "models").glob("*.py")} - {"base", "__init__"}
    assert files == {f.stem for f in (ROOT / "config" / "model").glob("*.yaml")}


# The start

HEAVY = ("torch", "lightning", "pytorch_lightning", "wandb", "tensorboard", "sklearn", "matplotlib", "pandas")
WATCH = f"""
import atexit, sys
atexit.register(lambda: print("heavy:", *[m for m in {HEAVY} if m in sys.modules], file=sys.stderr))
from frame.commands.main import main
sys.argv[0] = "frame"
sys.exit(main())
"""


@pytest.mark.parametrize(
    "words, line, answer",
    [
        (["train", "--help"], "", "digits_VAE"),
        (["train", "--cfg", "job", "+experiment=digits_VAE"], "", "_target_: frame.models.VAE.VAE"),
        (["-sc", "query=bash"], "frame train +experiment=dig", "+experiment=digits_VAE"),
        (["-sc", "query=bash"], "frame tr", "train"),
    ],
    ids=["help", "cfg", "complete", "complete-command"],
)
def test_quick_commands_import_nothing_heavy(words: list[str], line: str, answer: str) -> None:
    environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [sys.executable, "-c", WATCH, *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout
    assert done.stderr.splitlines()[-1].split() == ["heavy:"]
