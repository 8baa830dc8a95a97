"""`frame new` in processes: the commands that it prints run what it writes, in a user's folder and in the clone."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frame.commands.new import KINDS
from frame.composition.folders import config_folder
from tests.processes import Process, python
from tests.slow import slow_but

ROOT = Path(__file__).parents[2]


def new(cwd: Path, *words: str) -> tuple[int, str]:
    process = Process(["new", *words], cwd)
    return process.wait(), process.output


def printed(output: str, word: str) -> list[str]:
    """The commands behind 'run' or 'test'."""
    (block,) = re.findall(rf"^{word} .*\n(?: {{7}}.*\n)*", output, re.MULTILINE)
    return [line[7:] for line in block.splitlines()]


def shell(line: str, cwd: Path, **environment: str) -> str:
    """Runs a printed line in a shell; its output."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(line, shell=True, cwd=cwd, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def outputs(own: Path) -> dict[str, str]:
    """One of each kind, in a folder that was empty."""
    found = {}
    for kind in KINDS:
        code, found[kind] = new(own, kind, f"Own{kind}")
        assert code == 0, found[kind]
    return found


@pytest.mark.slow
def test_the_printed_commands_of_a_model_run_as_they_are_typed(own: Path, outputs: dict[str, str]) -> None:
    shutil.rmtree(own / "runs", ignore_errors=True)
    (train,) = printed(outputs["model"], "run")
    shell(train, own)
    assert list(own.glob("runs/digits_Ownmodel/*/images/*/*.png"))


@pytest.mark.parametrize("kind", slow_but(("model", "evaluation"), KINDS))
def test_the_printed_commands_run(kind: str, own: Path, outputs: dict[str, str]) -> None:
    shutil.rmtree(own / "runs", ignore_errors=True)
    for line in printed(outputs[kind], "run"):
        words = shlex.split(line)[1:]
        process = Process([*words, *(["train_for=2 iterations"] if words[0] == "train" else [])], own)
        assert process.wait() == 0, f"{line}\n{process.output}"
    if kind == "model":
        (run,) = (own / "runs" / "digits_Ownmodel").iterdir()
        assert '"finished"' in (run / "status.json").read_text() and list(run.glob("images/*/*.png"))
        assert "_target_: Ownmodel.Ownmodel" in (run / "config.yaml").read_text()
    if kind == "evaluation":
        assert "Ownevaluation/Test" in process.output and "±" in process.output
    if kind == "logger":
        assert list(own.glob("runs/digits_VAE/*/Ownlogger.jsonl"))


@pytest.mark.slow
def test_the_tests_pass(own: Path, outputs: dict[str, str]) -> None:
    lines = [test for kind in KINDS for test in printed(outputs[kind], "test")]
    command, _, _ = lines[0].partition(" tests/")  # all in one process, because starting it takes longest
    output = shell(" ".join([command, *(line.split()[-1] for line in lines)]), own)
    assert " passed" in output and len(lines) == len(KINDS)


def test_a_folder_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mine" / "config").mkdir(parents=True)
    code, output = new(tmp_path, "model", "Rings", "--config-dir", "mine/config")
    assert code == 0, output
    assert (tmp_path / "mine" / "Rings.py").exists() and not (tmp_path / "config").exists()
    (train,) = printed(output, "run")
    process = Process([*shlex.split(train)[1:], "train_for=2 iterations"], tmp_path)
    assert process.wait() == 0, process.output
    (test,) = printed(output, "test")
    found = re.fullmatch(r"cd (\S+) && \S+ -m pytest (-q) (\S+)", test)
    assert found is not None, test
    done = python(f"import pytest; raise SystemExit(pytest.main({[*found.groups()[1:]]}))", tmp_path / found[1])
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "words, answer",
    [
        (["model"], "new needs a kind and a name: frame new model MyVAE"),
        (["modl", "X"], "no kind to make 'modl': did you mean 'model'?"),
        (["model", "my-vae"], "'my-vae' cannot be the name of a class and a file: write my_vae"),
        (["model", "../Evil"], "cannot be the name of a class and a file: write Evil"),
        (["model", "class"], "'class' cannot be the name of a class and a file: write MyModel"),
        (["model", "VAE"], "there is a model 'VAE' already: choose another name, such as MyVAE"),
        (["evaluation", "Accuracy"], "there is an evaluation 'accuracy' already"),
        (["logger", "json"], "there is a Python module 'json' already: choose another name, such as MyJson"),
        (["data", "There"], "config/data/There.yaml exists, and nothing is overwritten"),
        (["model", "X", "--config-dir", "nowhere"], "--config-dir: there is no folder"),
    ],
)
def test_an_error_is_one_line_and_writes_nothing(words: list[str], answer: str, tmp_path: Path) -> None:
    (tmp_path / "config" / "data").mkdir(parents=True)
    there = tmp_path / "config" / "data" / "There.yaml"
    there.write_text("mine: 1\n")
    code, output = new(tmp_path, *words)
    assert code == 2 and len(output.splitlines()) == 1 and answer in output, output
    written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("output-")]
    assert written == [there] and there.read_text() == "mine: 1\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, if this is a clone."""
    if config_folder().parent != ROOT:
        pytest.skip("this is not a clone")
    folder = tmp_path_factory.mktemp("cloned") / "repository"
    nothing_built = shutil.ignore_patterns("__pycache__", "mine.yaml")
    for name in ("frame", "config", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=nothing_built)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


WRITTEN = [
    "frame/models/MyVAE.py",
    "config/model/MyVAE.yaml",
    "config/experiment/digits_MyVAE.yaml",
    "tests/models/test_MyVAE.py",
    "frame/evaluation/my_error.py",
    "config/evaluation/my_error.yaml",
    "tests/evaluation/test_my_error.py",
]


@pytest.fixture(scope="module")
def extended(clone: Path) -> Path:
    """The clone with a new model and a new evaluation."""
    start = "import sys; from frame.commands.main import main; sys.exit(main())"
    made = [("model", "MyVAE"), ("evaluation", "my_error")]
    for words in made:
        command = shlex.join([sys.executable, "-c", start, "new", *words])
        shell(command, clone / "docs", PYTHONPATH=str(clone))  # anywhere in it
    return clone


def test_in_the_clone_files_have_our_places_and_our_format(extended: Path) -> None:
    assert all((extended / path).exists() for path in WRITTEN)
    assert "| `MyVAE` |" in (extended / "docs" / "methods.md").read_text()
    python = [path for path in WRITTEN if path.endswith(".py")]
    for check in (["check"], ["format", "--check"]):
        shell(shlex.join([sys.executable, "-m", "ruff", *check, *python]), extended)


@pytest.mark.slow
def test_in_the_clone_tests_that_discover_files_find_it(extended: Path) -> None:
    discovered = ["tests/models/test_every_model.py", "tests/test_house.py", "tests/docs/test_methods_page.py"]
    tests = [*discovered, "tests/models/test_MyVAE.py", "tests/evaluation/test_my_error.py"]
    chosen = "MyVAE or my_error or has_its_config or has_an_experiment or on_the_page"
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *tests]
    output = shell(shlex.join(pytest_), extended, PYTHONPATH=str(extended))
    assert int(re.findall(r"(\d+) passed", output)[0]) > 20


def test_in_the_clone_an_experiment_says_its_data(clone: Path) -> None:
    code = "import sys; from frame.commands.main import main; sys.exit(main(['new', 'experiment', 'mine']))"
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    done = subprocess.run([sys.executable, "-c", code], cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "write digits_mine" in done.stderr
