"""Figures of many runs: their CSV has the correct numbers, and errors are one line."""

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from frame.analysis import figures as figures
from frame.analysis import study_figures
from frame.commands.main import main
from frame.common.errors import UserError
from tests.analysis.by_hand import record, run, study

VALUES = {0.5: [1.0, 2.0, 3.0, 4.0], 1.0: [2.1, 2.9, 4.2, 4.8], 4.0: [7.0, 8.2, 8.9, 10.3]}


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return study(tmp_path / "three", VALUES)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_values_have_means_and_t_intervals(three: Path) -> None:
    made = figures.plot([three], "params.beta", "ELBO/Test", log="x")
    rows = read(made.csv())
    assert [float(row["params.beta"]) for row in rows] == [0.5, 1.0, 4.0] and {row["runs"] for row in rows} == {"4"}
    for row, values in zip(rows, VALUES.values(), strict=True):
        low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
        found = [float(row[key]) for key in ("ELBO/Test", "ci_low", "ci_high")]
        assert found == pytest.approx([np.mean(values), low, high])
    (axes,) = made.figure.axes
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "ELBO/Test (nats per picture)"
    assert axes.get_xlabel() == "beta" and made.figure.get_figwidth() == 3.3
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == pytest.approx([np.mean(v) for v in VALUES.values()])


@pytest.mark.parametrize("settings", [[0.5, 1.0], ["VAE", "MIB"]])
def test_a_long_name_fits_beside_its_axis(tmp_path: Path, settings: list[Any]) -> None:
    name = "FewLabels/Validation/accuracy_of_10_per_class"
    for setting in settings:
        run(tmp_path / str(setting), {"beta": setting}, 1, [record(name, 1.0)])
    figure = figures.plot([tmp_path], "params.beta", name).figure
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (long,) = [axis.label for axis in (axes.xaxis, axes.yaxis) if "FewLabels" in axis.label.get_text()]
    assert long.get_text().replace("\n", "").startswith(name)
    box, page = long.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1 and page.y0 <= box.y0 < box.y1 <= page.y1


def test_the_other_bands(three: Path) -> None:
    (row, *_) = read(figures.plot([three], "params.beta", "ELBO/Test", band="sd").csv())
    spread = np.std(VALUES[0.5], ddof=1)
    assert float(row["sd_high"]) == pytest.approx(2.5 + spread) and float(row["sd_low"]) == pytest.approx(2.5 - spread)
    (row, *_) = read(figures.plot([three], "params.beta", "ELBO/Test", band="none").csv())
    assert row["none_low"] == ""


def test_one_run_has_no_band(tmp_path: Path) -> None:
    (row, _) = read(figures.plot([study(tmp_path, {1.0: [3.0], 2.0: [4.0]})], "params.beta", "ELBO/Test").csv())
    assert row["ci_low"] == "" and float(row["ELBO/Test"]) == 3.0


def test_lines_differ_in_more_than_colour(tmp_path: Path) -> None:
    for model in ("VAE", "VIB", "BetaTCVAE"):
        for beta in (1.0, 2.0):
            run(tmp_path / f"{model}{beta}", {"beta": beta}, 1, [record("ELBO/Test", beta)], model=model)
    with pytest.raises(UserError, match="differ in model, which is not averaged"):
        figures.plot([tmp_path], "params.beta", "ELBO/Test")
    made = figures.plot([tmp_path], "params.beta", "ELBO/Test", hue=["model"])
    (axes,) = made.figure.axes
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    assert [line.get_label() for line in lines] == ["model=BetaTCVAE", "model=VAE", "model=VIB"]
    assert len({line.get_marker() for line in lines}) == len({line.get_color() for line in lines}) == 3
    words = figures.plot([tmp_path], "model", "ELBO/Test", hue=["params.beta"])  # x in words
    assert [tick.get_text() for tick in words.figure.axes[0].get_yticklabels()] == ["BetaTCVAE", "VAE", "VIB"]


def test_names_are_sorted_by_means_and_not_joined_by_lines(tmp_path: Path) -> None:
    for i, model in enumerate(["b", "c", "a"]):
        for seed in range(3):
            run(tmp_path / f"{model}{seed}", {"beta": 1.0}, seed, [record("ELBO/Test", i + 0.1 * seed)], model=model)
    made = figures.plot([tmp_path], "model", "ELBO/Test")
    (axes,) = made.figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["b", "c", "a"]  # the highest is above
    assert axes.get_xlabel() == "ELBO/Test (nats per picture)"
    (container,) = axes.containers
    assert container[0].get_linestyle() == "None"
    (bars,) = container[2]
    assert len(bars.get_segments()) == 3
    half = [(segment[1, 0] - segment[0, 0]) / 2 for segment in bars.get_segments()]
    assert half == pytest.approx([4.303 * 0.1 / 3**0.5] * 3, rel=1e-3)  # t of two degrees of freedom
    assert [row[0:2] for row in made.numbers] == [["ELBO/Test", name] for name in ("a", "b", "c")]


def test_curves_measured_at_other_iterations_are_interpolated(tmp_path: Path) -> None:
    """By hand: 0, 10 at 0, 100 and 2, 7, 12 at 0, 50, 100 give means 1, 6, 11 at 0, 50, 100."""
    for seed, points in ((1, {0: 0.0, 100: 10.0}), (2, {0: 2.0, 50: 7.0, 100: 12.0})):
        run(tmp_path / f"{seed}", {"beta": 1.0}, seed, [record("ELBO/Test", v, iteration=i) for i, v in points.items()])
    for x, positions in (("iterations", [0, 50, 100]), ("seconds", [0, 5, 10]), ("epochs", [0, 2.5, 5])):
        rows = read(figures.plot([tmp_path], x, "ELBO/Test").csv())
        assert [float(row[x]) for row in rows] == pytest.approx(positions)
        assert [float(row["ELBO/Test"]) for row in rows] == pytest.approx([1, 6, 11])
    with pytest.raises(UserError, match="flops of .* are not known"):
        figures.plot([tmp_path], "flops", "ELBO/Test")


def test_curves_count_samples_and_flops(tmp_path: Path) -> None:
    path = run(tmp_path / "1", {"beta": 1.0}, 1, [record("ELBO/Test", i, iteration=i) for i in (0, 100)])
    (path / "costs.json").write_text('{"batch_size": 64, "flops_per_sample": 1000}')
    assert [float(row["samples"]) for row in read(figures.plot([tmp_path], "samples", "ELBO/Test").csv())] == [0, 6400]
    assert [float(row["flops"]) for row in read(figures.plot([tmp_path], "flops", "ELBO/Test").csv())] == [0, 6.4e6]


def test_curves_show_logged_numbers_and_not_later_evaluations(tmp_path: Path) -> None:
    records = [record("ELBO/Test", 5.0), record("ELBO/Test", 99.0, checkpoint="last")]
    path = run(tmp_path / "1", {"beta": 1.0}, 1, records)
    (path / "metrics.csv").write_text("iteration,seconds,loss\n0,0.0,9\n10,1.0,\n20,2.0,7\n")
    assert [float(row["loss"]) for row in read(figures.plot([tmp_path], "iterations", "loss").csv())] == [9, 7]
    (row,) = read(figures.plot([tmp_path], "iterations", "ELBO/Test").csv())
    assert float(row["ELBO/Test"]) == 5.0


def test_parallel_coordinates(tmp_path: Path) -> None:
    for beta, lr, value in ((1.0, 0.1, 3.0), (2.0, 0.1, 5.0), (2.0, 0.01, 4.0)):
        for seed in (1, 2):
            path = tmp_path / f"{beta}{lr}{seed}"
            run(path, {"beta": beta, "lr": lr}, seed, [record("ELBO/Test", value + seed - 1.5)])
    made = study_figures.parallel([tmp_path], "ELBO/Test")
    found = [tuple(float(row[key]) for key in ("params.beta", "params.lr", "ELBO/Test")) for row in read(made.csv())]
    assert sorted(found) == [(1.0, 0.1, 3.0), (2.0, 0.01, 4.0), (2.0, 0.1, 5.0)]
    lines = [np.asarray(line.get_ydata()).tolist() for line in made.figure.axes[0].lines]
    heights = sorted(line for line in lines if len(line) == 3)
    assert heights == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.5], [1.0, 1.0, 1.0]]


def test_pictures_are_the_newest_of_each_setting(three: Path) -> None:
    for i, path in enumerate(sorted((three / "runs").glob("*/*"))):
        folder = path / "images" / "Samples_Test"
        folder.mkdir(parents=True)
        for iteration, shade in ((10, 0), (20, 100 + i)):
            Image.new("RGB", (8, 8), (shade,) * 3).save(folder / f"{iteration:09d}.png")
    made = study_figures.pictures([three], "Samples/Test")
    shades = [int(np.asarray(axes.images[0].get_array())[0, 0, 0]) for axes in made.figure.axes if axes.images]
    assert shades == [100, 104, 108]  # of the first seed of each
    with pytest.raises(UserError, match="did you mean 'Samples_Test'"):
        study_figures.pictures([three], "Sample")


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_the_command_writes_figure_and_numbers(
    three: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures" / f"a{suffix}"
    run(three / "runs" / "beta=9,seed=1" / "1", {"beta": 9.0}, 1, [], "failed")
    assert main(["plot", str(three), "x=params.beta", "y=ELBO/Test", "log=x", f"out={out}"]) == 0
    assert "1 of 13 runs are not finished" in capsys.readouterr().out
    assert len(read(out.with_suffix(".csv").read_text())) == 3
    if suffix == ".pdf":
        assert out.read_bytes().startswith(b"%PDF") and b"/Subtype /Image" not in out.read_bytes()


def test_errors_are_one_line(three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    mixed = tmp_path / "mixed"
    for seed in (1, 2):
        run(mixed / f"{seed}", {"beta": 1.0}, seed, [record("ELBO/Test", 1.0, n_samples=seed)])
    place, xy = str(three), ["x=params.beta", "y=ELBO/Test"]
    for words, answer in (
        ([str(tmp_path / "empty"), *xy], "no run in"),
        ([place, "x=params.beta"], "plot needs y="),
        ([*xy], "plot needs a study"),
        ([place, "x=params.beta", "y=ELBO/Tset"], "did you mean 'ELBO/Test'"),
        ([place, "x=params.btea", "y=ELBO/Test"], "did you mean 'params.beta'"),
        ([place, *xy, "band=se"], "no band 'se'"),
        ([place, *xy, "log=z"], "no log 'z'"),
        ([place, *xy, "kind=scatter"], "no kind 'scatter'"),
        ([place, *xy, "out=figure.xls"], "a figure ends in"),
        ([place, *xy, "hues=model"], "did you mean 'hue'"),
        ([str(mixed), *xy], "was measured in several ways"),
    ):
        assert main(["plot", *words]) == 2
        error = capsys.readouterr().err
        assert answer in error and error.count("\n") == 1, error


def test_rate_distortion_over_finished_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, beta in enumerate((1.0, 4.0), 1):
        records = [
            record("ELBO/Test", -90.0),
            record("ELBO/Test/rate", 20 / beta),
            record("ELBO/Test/distortion", 70.0),
        ]
        run(tmp_path / f"{seed}", {"beta": beta}, seed, records)
    out = tmp_path / "out" / "a.pdf"
    assert main(["plot", str(tmp_path), "kind=rate_distortion", "y=ELBO/Test", f"out={out}"]) == 0
    assert out.exists() and "ELBO/Test/rate" in out.with_suffix(".csv").read_text()
    assert main(["plot", str(tmp_path), "kind=information_plane", f"out={out}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_a_million_rows_are_drawn_in_400_megabytes(tmp_path: Path) -> None:
    path = run(tmp_path / "1", {"beta": 1.0}, 1, [])
    with (path / "metrics.jsonl").open("w") as stream:
        for i in range(10**6):
            values = f'{{"loss": {1 / (i + 1)}, "rate": {i / 7}, "distortion": {i / 3}, "lr": 0.001}}'
            stream.write(f'{{"iteration": {i}, "seconds": {i / 300}, "epochs": {i / 1000}, "values": {values}}}\n')
    words = ["-m", "frame", "plot", str(tmp_path), "x=iterations", "y=loss", f"out={tmp_path / 'loss.pdf'}"]
    watch = "import resource, subprocess, sys; print(subprocess.run(sys.argv[1:]).returncode, "
    watch += "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [sys.executable, "-c", watch, sys.executable, *words]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    code, kilobytes = map(int, made.stdout.split()[-2:])
    assert code == 0 and kilobytes < 400_000, made.stdout + made.stderr
    rows = read((tmp_path / "loss.csv").read_text())
    assert len(rows) <= 20_001 and float(rows[-1]["iterations"]) == 10**6 - 1 and "one in 50 is drawn" in made.stdout
