"""frame.compare and frame.plot: the numbers of the commands, as data frames and figures."""

import shutil
from pathlib import Path
from typing import Any

import pandas
import pytest

import frame
from frame.commands.main import main


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path) -> Path:
    for name in ("a", "b"):
        shutil.copytree(tiny_run, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_a_comparison_is_the_table_of_the_command(runs: Path, tmp_path: Path) -> None:
    table = frame.compare(runs, "ELBO/Validation", rows=["experiment"])
    assert main(["compare", str(runs), "metrics=ELBO/Validation", "rows=experiment", f"out={tmp_path}/t.csv"]) == 0
    written = pandas.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == list(written.columns) and table["mean"].tolist() == written["mean"].tolist()
    assert any("ELBO/Validation:" in note for note in table.attrs["notes"])
    assert frame.compare([frame.open(runs / "a")], "ELBO/Validation").seeds.tolist() == [1]


def test_a_figure_has_its_numbers_and_shows_itself(runs: Path, tmp_path: Path) -> None:
    made = frame.plot(runs, "iterations", "ELBO/Validation", out=tmp_path / "f.pdf")
    assert made._repr_png_().startswith(b"\x89PNG")
    assert made.data.columns.tolist() == pandas.read_csv(tmp_path / "f.csv").columns.tolist()
    assert len(made.data) == len(pandas.read_csv(tmp_path / "f.csv")) > 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda runs: frame.compare(runs), "compare needs metrics=[...]; these runs have: "),
        (lambda runs: frame.compare(runs, "ELBO/Tset"), "no result of these runs 'ELBO/Tset'"),
        (lambda runs: frame.compare(runs, "ELBO/Validation", by="seed"), "no option of compare 'by'"),
        (lambda runs: frame.compare("nowhere", "ELBO/Test"), "no run in nowhere"),
        (lambda runs: frame.plot(runs, "iterations"), "plot needs y=..., such as y=ELBO/Test"),
        (lambda runs: frame.plot(runs, "iterations", "ELBO/Validation", color="red"), "no option of plot 'color'"),
        (lambda runs: frame.plot(runs, kind="heatmap"), "no kind of figure 'heatmap'"),
        (lambda runs: frame.plot(runs, kind="parallel", y="ELBO/Validation", log="x"), "kind=parallel has no log"),
    ],
)
def test_errors_are_one_line(call: Any, said: str, runs: Path) -> None:
    with pytest.raises(frame.UserError) as error:
        call(runs)
    assert said in str(error.value) and "\n" not in str(error.value)
