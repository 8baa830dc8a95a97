"""The tool for paired comparisons: what it trains, what it leaves alone, and what its table says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import paired  # noqa: E402


def record(value: float, iteration: int = 10, seconds: float = 5.0, name: str = "ELBO/Validation") -> dict[str, Any]:
    return {"name": name, "value": value, "iteration": iteration, "seconds": seconds}


def plan(folder: Path, **changes: Any) -> Path:
    file = folder / "toy.yaml"
    whole = {
        "variants": {"a": "experiment=digits_VAE params.beta=1", "b": "experiment=digits_VAE params.beta=4"},
        "common": 'train_for="3 iterations"',
        "seeds": [1, 2],
        "against": "a",
        "metrics": ["ELBO/Validation"],
    }
    file.write_text(yaml.safe_dump({**whole, **changes}))
    return file


def cell(root: Path, words: list[str], state: str = "finished", records: tuple[dict[str, Any], ...] = ()) -> Path:
    """A run as train.py leaves it, of the overrides `words`; where it lies they say."""
    (name,) = [word.split("=")[1].strip("'") for word in words if word.startswith("experiment_name=")]
    (parent,) = [word.split("=")[1] for word in words if word.startswith("device.experiments_root=")]
    run = Path(parent) / name / "2026-01-01_00-00-00"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("{}")
    (run / "overrides.yaml").write_text(yaml.safe_dump(words))
    (run / "status.json").write_text(json.dumps({"state": state, "format": 1}))
    (run / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return run


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would be run; none is."""
    called: list[list[str]] = []

    class Done:
        returncode = 0

    def run(command: list[str], **how: Any) -> Done:
        called.append(command[2:])
        return Done()

    monkeypatch.setattr(paired.subprocess, "run", run)
    return called


def test_table_has_means_errors_and_paired_differences() -> None:
    """a: 1, 5; b: 2, 7, and a third seed. Differences 1 and 2: 1.5 +- 0.5, though either mean is +- 2 or more."""
    values = {("a", 1): 1.0, ("a", 2): 5.0, ("b", 1): 2.0, ("b", 2): 7.0, ("b", 3): 100.0}
    records = {key: [record(number)] for key, number in values.items()}
    lines = paired.table(["ELBO/Validation"], records, "a").splitlines()
    assert lines[2] == "| ELBO/Validation | a | 2 | 3 ± 2 |  |"
    assert lines[3] == "| ELBO/Validation | b | 3 | 36.333 ± 32 | +1.5 ± 0.5 |"
    assert lines[4:] == [
        "| seconds of training | a | 2 | 5 ± 0 |  |",
        "| seconds of training | b | 3 | 5 ± 0 | +0 ± 0 |",
    ]


def test_floors_stand_below_their_metric() -> None:
    found = [record(1.0), record(3.0, name="ELBO/Validation/floor/pca"), record(4.0, name="ELBO/Other/floor/pca")]
    lines = paired.table(["ELBO/Validation"], {("a", 1): found}, None).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| ELBO/Validation", "| ELBO/Validation/floor/pca"]
    assert lines[3] == "| ELBO/Validation/floor/pca | a | 1 | 3 |  |" and len(lines) == 5


def test_a_metric_can_name_an_iteration_or_a_second() -> None:
    found = [record(i, iteration=10 * i, seconds=2.5 * i) for i in range(4)]
    for metric, expected in {"": 3, "@last": 3, "@20": 2, "@6s": 2, "@0s": 0, "@7.5s": 3}.items():
        assert paired.value(found, f"ELBO/Validation{metric}") == expected
    for metric in ("ELBO/Validation@15", "ELBO/Nowhere", "ELBO/Validation@-1s"):
        assert paired.value(found, metric) != paired.value(found, metric)  # NaN


def test_cells_that_are_missing_are_trained_with_what_was_typed(tmp_path: Path, commands: list[list[str]]) -> None:
    assert paired.main([str(plan(tmp_path)), f"--root={tmp_path}"]) == 0
    expected = [
        [
            "experiment=digits_VAE",
            f"params.beta={beta}",
            "train_for=3 iterations",
            f"seed={seed}",
            "logging=csv",
            f"experiment_name='{seed}'",
            f"device.experiments_root={tmp_path}/toy/{variant}",
        ]
        for variant, beta in (("a", 1), ("b", 4))
        for seed in (1, 2)
    ]
    assert commands == expected


def test_finished_cells_are_kept_and_interrupted_ones_go_on(
    tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, cells = paired.load(plan(tmp_path), tmp_path)
    cell(tmp_path, cells["a", 1], records=(record(1.0),))
    stopped = cell(tmp_path, cells["a", 2], "stopped", (record(2.0),))
    cell(tmp_path, cells["b", 1], "failed")  # before its first checkpoint
    (stopped / "checkpoints" / "last.ckpt").touch()
    monkeypatch.setattr(paired.RunFolder, "checkpoint", lambda run: {} if run.path == stopped else None)
    assert paired.main([str(tmp_path / "toy.yaml"), f"--root={tmp_path}"]) == 0
    assert commands == [[f"resume={stopped}"], cells["b", 1], cells["b", 2]]
    # what is not whole is not in the table
    assert "| ELBO/Validation | a | 1 | 1 |  |" in capsys.readouterr().out
    commands.clear()
    assert paired.main([str(tmp_path / "toy.yaml"), f"--root={tmp_path}", "--jobs=0"]) == 0 and not commands


def test_a_run_of_other_overrides_is_not_taken_for_this_one(
    tmp_path: Path, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, cells = paired.load(plan(tmp_path, common="train_for='4 iterations'"), tmp_path)
    cell(tmp_path, cells["a", 1])
    assert paired.main([str(plan(tmp_path)), f"--root={tmp_path}"]) == 2 and not commands
    assert "was started with other overrides: delete it" in capsys.readouterr().err


def test_mistakes_in_the_file_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "no key 'seed': did you mean 'seeds'": {"seed": 1},
        "metrics is missing": {"metrics": []},
        "against: no variant 'c'": {"against": "c"},
    }
    for match, changes in wrong.items():
        assert paired.main([str(plan(tmp_path, **changes))]) == 2
        assert match in capsys.readouterr().err
    assert paired.main(["nowhere"]) == 2
    assert "there is no" in capsys.readouterr().err


def test_one_real_run_and_its_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two variants, of which one cannot be: its log says why, and the other is in the table."""
    variants = {"a": "experiment=digits_Classifier", "b": "experiment=digits_Classifier params.l=4"}
    file = plan(tmp_path, variants=variants, seeds=[1], metrics=["Accuracy/Test"])
    assert paired.main([str(file), f"--root={tmp_path}", "--jobs=2"]) == 1
    out, err = capsys.readouterr()
    assert f"b, seed 1, ended with 2: {tmp_path}/toy/b/1.log" in err
    assert "did you mean 'params.lr'" in (tmp_path / "toy" / "b" / "1.log").read_text()
    row = next(line for line in out.splitlines() if line.startswith("| Accuracy/Test | a | 1 | "))
    assert paired.main([str(file), f"--root={tmp_path}", "--jobs=0"]) == 0
    assert row in capsys.readouterr().out


def test_files_in_pairs_can_be_read(tmp_path: Path) -> None:
    for file in (paired.HERE / "pairs").glob("*.yaml"):
        paired.load(file, tmp_path)
