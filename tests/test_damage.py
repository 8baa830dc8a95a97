"""One bad run among many: each file of a run damaged in each way; every command names the run and reads the others."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import frame
from frame.cli import main
from tests.processes import Process
from tests.studies.by_hand import record, run

FILES = (
    "config.yaml", "overrides.yaml", "status.json", "records.jsonl", "facts.json", "code.json", "environment.json",
    "evaluated.jsonl", "doctor.jsonl", "metrics.jsonl", "metrics.csv", "lock", "checkpoints/last.ckpt",
    "images/Samples/00000001.png",
)  # fmt: skip
READ_BY_ALL = ("config.yaml", "overrides.yaml", "status.json", "records.jsonl", "facts.json")


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
FACTS: dict[str, list[Any]] = dict.fromkeys(("parameters", "flops_per_sample", "batch_size"), ["x", [1], 10**400])
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

            if file == "records.jsonl":
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
for file, wrong in (("status.json", WRONG), ("config.yaml", CONFIGS), ("facts.json", FACTS), ("records.jsonl", RECORDS)):
    CASES += [(file, name, damage) for name, damage in typed(wrong, file).items()]


def by_hand(folder: Path, seed: int) -> Path:
    """A run with every file that a run may have."""
    records = [record("ELBO/Test", seed + i / 10, iteration=10 * i) for i in range(4)]
    path = run(folder, {"beta": float(1 + seed % 2)}, seed, records)
    facts = {"parameters": 10, "encoder_parameters": 5, "flops_per_sample": 3.0, "batch_size": 64}
    (path / "facts.json").write_text(json.dumps(facts))
    for name in ("code.json", "environment.json"):
        (path / name).write_text("{}\n")
    for name in ("evaluated.jsonl", "doctor.jsonl", "metrics.jsonl"):
        (path / name).write_text("")
    (path / "metrics.csv").write_text("iteration,seconds,epochs,loss\n1,0.1,0.1,3\n2,0.2,0.2,2\n")
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
    """A fifth run beside four good ones, damaged; taken away afterwards."""
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


@pytest.mark.parametrize("bad", CASES, indirect=True, ids=[f"{file}: {name}" for file, name, _ in CASES])
def test_a_bad_run_is_named_and_the_others_are_read(
    bad: Path, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    runs = str(good / "runs")
    for words, shown in (
        (["list", runs, "columns=[run,seed,state,params.beta,flops,ELBO/Test,optimization.lr]"], "run_3"),
        (["show", f"{runs}/*"], "run_3"),
        (["compare", runs, "rows=params.beta", "metrics=[ELBO/Test]"], "params.beta"),
        (["plot", runs, "x=iterations", "y=ELBO/Test"], "figure"),
    )[: 4 if bad.name else 4]:
        code, out, error = answered(words, capsys)
        assert code == 0, error
        assert shown in out
        lines = [line for line in error.splitlines() if line]
        assert len(lines) <= 1 and all(str(bad) in line for line in lines), error
    for words in (["list", str(bad)], ["show", str(bad)]):
        code, out, error = answered(words, capsys)
        assert code in (0, 2) and len(error.splitlines()) <= 1, error
    assert set(frame.results(runs)["seed"]) >= {0, 1, 2, 3}
    capsys.readouterr()
