"""frame.sweep: the study of the command, as a data frame."""

from pathlib import Path
from typing import Any

import pytest

import frame
from frame.sweeps import launchers
from frame.sweeps.handles import Started

FILE = """
method: grid
metric: {name: ELBO/Validation, goal: maximize}
parameters:
  params.beta: {values: [0.5, 1.0]}
command: ["${env}", "${interpreter}", "${program}", "+experiment=digits_VAE", "${args_no_hyphens}"]
"""


@pytest.mark.slow
def test_a_study_is_a_table_of_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yml").write_text(FILE)
    settings: dict[str, Any] = {"train_for": "2 iterations", "logging": [], "evaluations": ["elbo"]}
    table = frame.sweep("s.yml", seeds=2, jobs=2, **settings)
    assert sorted(zip(table["params.beta"], table["seed"], strict=True)) == [(0.5, 1), (0.5, 2), (1.0, 1), (1.0, 2)]
    assert set(table.state) == {"finished"} and table["ELBO/Validation"].notna().all()
    again = frame.sweep(tmp_path / "runs" / "studies" / "s", seeds=2, **settings)
    assert again.run.tolist() == table.run.tolist(), "nothing was missing"


def test_cells_are_fresh_processes_with_the_words_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's script may have no `if __name__ == "__main__"`, and a notebook's process has threads."""
    started: list[list[str]] = []

    def launch(self: Any, words: list[str], log: Path) -> Started:
        started.append(words)
        return Started(lambda: 1, lambda: None)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launchers.Processes, "launch", launch)
    monkeypatch.setattr(launchers.Forks, "launch", None)
    Path("s.yml").write_text(FILE)
    with pytest.raises(frame.UserError, match="no run in"):
        frame.sweep("s.yml", run_cap=1, train_for="2 iterations", params={"z_dim": 3})
    assert len(started) == 1 and {"params.beta=0.5", "train_for='2 iterations'", "params.z_dim=3"} <= set(started[0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 0}, "seeds=0: write how many"),
        ({"jobs": 0}, "jobs=0: write a whole number"),
        ({"launcher": "slurm"}, "no launcher 'slurm'"),
        ({"bta": 3}, "no key 'bta'"),
    ],
)
def test_errors_are_one_line(options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yml").write_text(FILE)
    with pytest.raises(frame.UserError) as error:
        frame.sweep("s.yml", **options)
    assert said in str(error.value) and "\n" not in str(error.value)
