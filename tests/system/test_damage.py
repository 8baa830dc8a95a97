"""One bad run among many: for each damage of each file, every command names the run and reads the others."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import frame
from frame.commands.main import main
from frame.runs.listing import find
from tests.analysis.by_hand import record, run
from tests.processes import OWN, Process, only_run, train

FILES = (
    "config.yaml", "overrides.yaml", "status.json", "records.jsonl", "costs.json", "code.json", "environment.json",
    "evaluated.jsonl", "doctor.jsonl", "metrics.jsonl", "metrics.csv", "lock", "checkpoints/last.ckpt",
    "images/Samples/00000001.png",
)  # fmt: skip
READ_BY_ALL = ("config.yaml", "overrides.yaml", "status.json", "records.jsonl", "costs.json")


def written(content: bytes) -> Callable[[Path], None]:
    return lambda file: None if file.write_bytes(content) else None


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/nowhere/at/all")


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": written(b""),
    "spaces": written(b"  \n\n"),
    "binary": written(bytes(range(256)) * 4),
    "latin": written("größe: ä\n".encode("latin-1")),
    "half": written(b'{"name": "ELBO/Test", "val'),
    "words": written(b"not: [what: it\n was\n"),
    "a list": written(b"[1, 2]\n"),
    "a number": written(b"17\n"),
    "null": written(b"null\n"),
    "deep": written(b"[" * 100_000),
    "an anchor": written(b"a: &a [1]\nb: [*a, *a]\n"),
    "a tag": written(b"a: !!python/object/apply:os.system [x]\n"),
    "folder": a_folder,
    "link": a_link,
    "pipe": a_pipe,
    "gone": lambda file: file.unlink(),
}

WRONG: dict[str, list[Any]] = {  # values of a wrong type, by the key that has them
    "format": [99, 1, "2", None, [2], 10**400],
    "state": [3, ["finished"], {"a": 1}],
    "reason": [7, ["x"]],
    "counters": [3, [1], {"iterations": "many"}, {"seconds": [1]}, {"epochs": 10**400}],
    "troubles": [[1], "x", 3],
}
CONFIGS: dict[str, list[Any]] = {
    "params": [[1], "x", 3],
    "seeds": ["x", [1]],
    "model": [3, "VAE", [1], {"_target_": 3}, {"_target_": ["a"]}, {}],
    "data": [3, "x", {"_target_": {"a": 1}}],
    "optimization": [[], {"_target_": 1.5}],
    "architectures": [3, ["a"], {"encoder": 3}],
    "callbacks": ["x", 3],
    "device": [3, ["a"]],
    "experiment_name": [["a"], {"a": 1}],
    "seed": [["a"], {"a": 1}],
}
COSTS: dict[str, list[Any]] = dict.fromkeys(("parameters", "flops_per_sample", "batch_size"), ["x", [1], 10**400])
LOGGED: dict[str, list[Any]] = {
    "iteration": ["1", None, -1, 10**40, 1.5],
    "seconds": ["x", [1]],
    "values": [3, [1], {"loss": "x"}, {"loss": None}, {"iteration": 3}],
}
RECORDS: dict[str, list[Any]] = {
    "name": [None, 3, ["a"]],
    "value": ["abc", None, [1], {"a": 1}, True, 10**400, 1e300],
    "iteration": [-1, "3", None, [1], 10**400],
    "seconds": ["x", [1], -3],
    "split": [3, ["test"]],
    "estimator": [3],
    "n_samples": ["many"],
    "standard_error": ["x", [1]],
    "interval": [3, [1], ["a", "b"], [1, 2, 3]],
    "checkpoint": [3],
}


def typed(wrong: dict[str, list[Any]], file: str) -> dict[str, Callable[[Path], None]]:
    def put(key: str, value: Any) -> Callable[[Path], None]:
        def change(path: Path) -> None:
            import yaml

            if file in ("records.jsonl", "metrics.jsonl"):
                lines = path.read_text().splitlines()
                lines[1] = json.dumps({**json.loads(lines[1]), key: value})
                path.write_text("\n".join(lines) + "\n")
            elif file == "config.yaml":
                path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), key: value}))
            else:
                path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

        return change

    return {f"{key}={str(value)[:20]}": put(key, value) for key, values in wrong.items() for value in values}


CASES = [(file, name, damage) for file in FILES for name, damage in DAMAGES.items()]
# the fast cases: two damages of every file, and all damages of one YAML file and one file of JSON lines
OFTEN = {(file, name) for file in FILES for name in ("binary", "folder")}
OFTEN |= {(file, name) for file in ("config.yaml", "records.jsonl") for name in DAMAGES}
TYPED = {
    "status.json": WRONG,
    "config.yaml": CONFIGS,
    "costs.json": COSTS,
    "records.jsonl": RECORDS,
    "metrics.jsonl": LOGGED,
}
for file, wrong in TYPED.items():
    CASES += [(file, name, damage) for name, damage in typed(wrong, file).items()]
    # and the first wrong value of every key
    OFTEN |= {(file, next(iter(typed({key: values}, file)))) for key, values in wrong.items()}
MARKED = [
    pytest.param((file, name, damage), id=f"{file}: {name}", marks=[] if (file, name) in OFTEN else [pytest.mark.slow])
    for file, name, damage in CASES
]


def by_hand(folder: Path, seed: int) -> Path:
    """A run with all files that a run can have."""
    records = [record("ELBO/Test", seed + i / 10, iteration=10 * i) for i in range(4)]
    path = run(folder, {"beta": float(1 + seed % 2)}, seed, records)
    costs = {"parameters": 10, "encoder_parameters": 5, "flops_per_sample": 3.0, "batch_size": 64}
    (path / "costs.json").write_text(json.dumps(costs))
    for name in ("code.json", "environment.json"):
        (path / name).write_text("{}\n")
    for name in ("evaluated.jsonl", "doctor.jsonl", "metrics.csv"):
        (path / name).write_text("")
    logged = [{"iteration": i, "seconds": i / 10, "epochs": i / 10, "values": {"loss": 3.0 - i}} for i in (1, 2)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logged))
    for name in ("lock", "checkpoints/last.ckpt", "images/Samples/00000001.png"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for seed in range(4):
        by_hand(folder / "runs" / f"run_{seed}", seed)
    return folder


@pytest.fixture
def bad(good: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A damaged fifth run beside four good ones; it is removed afterwards."""
    file, _, damage = request.param
    path = by_hand(good / "runs" / "run_4", 4)
    damage(path / file)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def answered(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(words)
    out, error = capsys.readouterr()
    assert "Traceback" not in out + error, error
    return code, out, error


@pytest.mark.parametrize("bad", MARKED, indirect=True)
def test_a_bad_run_is_named_and_the_others_are_read(
    bad: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bad.parent.parent)
    file = request.node.callspec.params["bad"][0]
    columns = "columns=[run,seed,state,params.beta,flops,ELBO/Test,optimization.lr]"
    commands = [(["list", "runs", columns], "run_3"), (["show", "runs/*"], "run_3")]
    if file in READ_BY_ALL:
        commands.append((["compare", "runs", "rows=params.beta", "metrics=[ELBO/Test]"], "params.beta"))
    if file == "metrics.jsonl":
        commands.append((["plot", "runs", "x=iterations", "y=loss", "out=figure.pdf"], "figure"))
    for words, shown in commands:
        code, out, error = answered(words, capsys)
        lines = error.splitlines()
        assert code == 0 and shown in out, error
        assert len(lines) <= 1 and all("runs/run_4" in line for line in lines), error
    for words in (["list", "runs/run_4"], ["show", "runs/run_4"]):
        code, out, error = answered(words, capsys)
        assert (code == 0 or code == 2 and not out) and len(error.splitlines()) <= 1, error
    assert set(frame.results("runs")["seed"]) >= {0, 1, 2, 3}


@pytest.mark.slow
@pytest.mark.parametrize("bad", [pytest.param(case, id=f"{case[0]}: {case[1]}") for case in CASES], indirect=True)
def test_tables_and_reports_name_a_bad_run_and_go_on(
    bad: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bad.parent.parent)
    for words in (
        ["compare", "runs", "rows=params.beta", "metrics=[ELBO/Test]", "out=table.csv"],
        ["plot", "runs", "x=params.beta", "y=ELBO/Test", "out=figure.svg"],
        ["report", "runs", "out=report.html"],
    ):
        code, out, error = answered(words, capsys)
        # artificial runs have invalid pictures, which the report names too
        lines = [line for line in error.splitlines() if "it is not a PNG" not in line]
        whole = code == 0 and out and all("runs/run_4" in line for line in lines)
        assert (whole or code == 2) and len(lines) <= 1, (words, error)  # 2: the run differs, and may not be averaged
    assert "2.0" in Path("table.csv").read_text()


@pytest.mark.parametrize("file", READ_BY_ALL)
def test_with_bad_runs_alone_it_is_one_line(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        a_folder(by_hand(tmp_path / "runs" / f"run_{seed}", seed) / file)
    for words in (
        ["list"],
        ["show", "runs"],
        ["compare", "runs", "metrics=[ELBO/Test]"],
        ["plot", "runs", "x=params.beta", "y=ELBO/Test"],
        ["report", "runs"],
    ):
        code, out, error = answered(words, capsys)
        assert code == 2 and not out and error.count("\n") == 1, error
        assert f"runs/run_1/{file} is not a plain file" in error or f"runs/run_1/{file} cannot be read" in error
        assert "1 more" in error


@pytest.mark.parametrize(
    "name", ["old [1]", "a*b", "what?", "a=b", "-dash", 'it\'s "so"', "größe", "two\nlines", "~tilde", "[abc]"]
)
def test_existing_paths_are_taken_literally(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not patterns, which would match `a` or `axb` beside them."""
    monkeypatch.chdir(tmp_path)
    by_hand(tmp_path / name / "here", 1)
    by_hand(tmp_path / "a" / "there", 2)
    by_hand(tmp_path / "axb" / "there", 3)
    for place in (f"./{name}", str(tmp_path / name), f"./{name}/here"):
        assert [found.path.name for found in find([place])] == ["here"]
        code, out, error = answered(["list", place, "columns=[seed]"], capsys)
        assert code == 0 and out.split() == ["seed", "1", "1", "of", "1", "run"], error
    assert len(find([f"{tmp_path}/a*"])) == (1 if name == "a*" else len(list(tmp_path.glob("a*"))))


EVALUATED = ["evaluate", "--config-dir", str(OWN / "config"), "packages=toys", "evaluation=[elbo]"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("trained")
    code, output = train(["experiment=tiny", "train_for=10 iterations"], cwd)
    assert code == 0, output
    return only_run(cwd)


WEIGHED = [
    (file, name)
    for file in ("config.yaml", "status.json", "records.jsonl", "evaluated.jsonl", "checkpoints/last.ckpt", "lock")
    for name in ("empty", "binary", "a list", "folder", "link", "gone")
]


@pytest.mark.slow
def test_evaluate_and_export_name_a_bad_run_and_go_on(trained: Path, tmp_path: Path) -> None:
    """In processes that import torch: all damages at once, and each alone by its own folder."""
    shutil.copytree(trained, tmp_path / "runs" / "good")
    for number, (file, name) in enumerate(WEIGHED):
        bad = tmp_path / "runs" / f"bad_{number:02}"
        shutil.copytree(trained, bad)
        (bad / file).touch()
        DAMAGES[name](bad / file)
    process = Process([*EVALUATED, "elbo.n_samples=20", "runs/*"], tmp_path)
    assert process.wait(600) in (0, 1), process.output
    assert "Traceback" not in process.output, process.output
    records = (tmp_path / "runs" / "good" / "records.jsonl").read_text()
    assert '"elbo/Test"' in records
    for number in range(0, len(WEIGHED), 5):
        for words in (["export", "--config-dir", str(OWN / "config"), "packages=toys"], EVALUATED):
            process = Process([*words, f"runs/bad_{number:02}"], tmp_path)
            assert process.wait(120) in (0, 2), process.output
            assert "Traceback" not in process.output, process.output
