"""Comparisons: their statistics against scipy and numbers by hand, and the tables as files."""

import csv
import itertools
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from frame.analysis.compare import compare, counted
from frame.analysis.intervals import adjusted, difference, differences, holm, interval, pairwise, ranked, spread
from frame.analysis.series import settings
from frame.commands.main import main
from frame.commands.parser import is_place
from frame.common.errors import UserError
from frame.common.escaping import latex as escape
from frame.runs.listing import find
from tests.analysis import by_hand
from tests.slow import slow_but

TEST, VALID = "ELBO/Test", "ELBO/Validation"


def run(folder: Path, beta: float, seed: int, state: str = "finished", **values: Any) -> Path:
    path = folder / f"beta={beta},seed={seed}" / "2026-01-01_00-00-00"
    while path.exists():
        path = path.with_name(path.name + "_2")
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(
        f"experiment_name: a\nseed: {seed}\nseeds: {{init: {seed}, data: {seed}}}\nparams: {{beta: {beta}}}\n"
        "model: {_target_: frame.models.VAE.VAE}\ndata: {_target_: frame.data.digits.Digits}\n"
    )
    (path / "status.json").write_text(json.dumps({"state": state, "format": 2}))
    with (path / "records.jsonl").open("w") as records:
        for name, value in values.items():
            name, _, n_samples = name.replace("__", "/").partition("_n")
            split = "test" if "Test" in name else "valid"
            record = {"name": name, "value": value, "unit": "nats", "split": split, "n_samples": int(n_samples or 100)}
            records.write(json.dumps({**record, "estimator": "one sample [took 3]", "iteration": 9}) + "\n")
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two rows with correlated seeds: the difference is far clearer than the means."""
    for seed, shift in enumerate([0.0, 5.0, -4.0, 2.0], 1):
        run(tmp_path, 0.5, seed, ELBO__Test=-90 + shift, ELBO__Validation=-91 + shift)
        run(tmp_path, 2.0, seed, ELBO__Test=-91.5 + shift + 0.1 * seed, ELBO__Validation=-89 + shift)
    return tmp_path


def test_the_interval_is_scipys() -> None:
    values = [1.0, 2.5, 0.3, 4.0, 2.2]
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-12)
    assert math.isnan(interval([3.0])[1])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_many_differences_are_scipys(scale: float) -> None:
    drawn = np.random.default_rng(0)
    for n, m in itertools.product((2, 3, 10, 40), repeat=2):
        a, b = drawn.normal(3, scale, n), drawn.normal(0, 1, m)
        values, others = dict(enumerate(a)), {f"other {i}": value for i, value in enumerate(b)}
        tests = [(difference(values, others), stats.ttest_ind(a, b, equal_var=False))]
        if n == m:
            tests.append((difference(values, dict(enumerate(b))), stats.ttest_rel(a, b)))
        for found, reference in tests:
            low, high = reference.confidence_interval(0.95)
            assert found.p == pytest.approx(reference.pvalue, rel=1e-7)
            assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), rel=1e-7)


def test_the_paired_difference_is_scipys_over_the_shared_seeds() -> None:
    a = {1: 1.0, 2: 2.0, 3: 4.5, 9: 100.0}
    b = {3: 4.0, 2: 1.7, 1: 0.4, 7: -50.0}
    found = difference(a, b)
    reference = stats.ttest_rel([1.0, 2.0, 4.5], [0.4, 1.7, 4.0])
    assert (found.n, found.mean, found.p) == (3, pytest.approx(1.4 / 3), pytest.approx(reference.pvalue))
    low, high = reference.confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert math.isnan(difference({1: 93.1, 2: 92.7, 3: 0.3}, {1: 93.0, 2: 92.6, 3: 0.2}).p)  # equal but for rounding
    assert difference({1: 1.0}, {2: 1.0}).n == 0 and math.isnan(difference({1: 1.0}, {1: 0.0}).p)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 * 0.01; 2 * 0.03; then at least that
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([math.nan, 0.01, 0.04], [math.nan, 0.02, 0.04]),
    ],
)
def test_holm_by_hand(p: Sequence[float], adjusted: Sequence[float]) -> None:
    assert holm(p) == pytest.approx(adjusted, nan_ok=True)


def test_pairs_show_a_difference_that_means_do_not(study: Path) -> None:
    comparison = compare(find([study]), ["params.beta"], [TEST])
    half, two = comparison.rows
    assert [row.label for row in comparison.rows] == [("0.5",), ("2.0",)]
    assert half.samples[TEST].half > 4 and abs(half.samples[TEST].mean - two.samples[TEST].mean) < 2
    assert two.differences[TEST].mean == pytest.approx(-1.25) and two.differences[TEST].p < 0.001
    assert TEST in half.bold and TEST not in two.bold


def test_no_winner_among_ties(tmp_path: Path) -> None:
    for seed, noise in enumerate([0.3, -0.2, 0.1], 1):
        run(tmp_path, 0.5, seed, ELBO__Test=-90.0)
        run(tmp_path, 2.0, seed, ELBO__Test=-90 + noise)
    comparison = compare(find([tmp_path]), ["params.beta"], [TEST])
    assert not any(row.bold for row in comparison.rows)
    assert any("no winner in ELBO/Test: 2.0 is not significantly better than 0.5" in note for note in comparison.notes)


def test_it_chooses_on_valid_and_reports_test(study: Path) -> None:
    comparison = compare(find([study]), ["params.beta"], [TEST], select="valid")
    assert [row.chosen for row in comparison.rows] == [False, True]  # though 0.5 is better on test
    assert any(note.startswith("2.0 is chosen by ELBO/Validation") for note in comparison.notes)
    for select in ("test", TEST):
        with pytest.raises(UserError, match="a row is not chosen on test"):
            compare(find([study]), ["params.beta"], [TEST], select=select)


def test_less_is_better_if_told_so(study: Path) -> None:
    comparison = compare(find([study]), ["params.beta"], [TEST], minimize=[TEST], sort=TEST, allow_test=True)
    assert comparison.rows[0].label == ("2.0",) and TEST in comparison.rows[0].bold


@pytest.mark.parametrize(("better", "winner"), [("less", "2.0"), ("more", "0.5"), ("", None)])
def test_the_record_says_what_is_better(study: Path, better: str, winner: str | None) -> None:
    for path in study.glob("*/*/records.jsonl"):
        records = [json.loads(line) | {"better": better} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    comparison = compare(find([study]), ["params.beta"], [TEST], sort=TEST, allow_test=True)
    assert [row.name for row in comparison.rows if row.bold] == ([winner] if winner else [])
    assert comparison.rows[0].name == (winner or "0.5")
    assert any(note.endswith("; less is better") for note in comparison.notes) is (better == "less")
    assert any("there is no winner" in note for note in comparison.notes) is (better == "")


def test_missing_runs_and_numbers_are_counted(study: Path) -> None:
    run(study, 2.0, 5, state="failed")
    run(study, 0.5, 5, ELBO__Test=-90.0)
    run(study, 8.0, 1, state="stopped")
    comparison = compare(find([study]), ["params.beta"], [TEST, VALID])
    assert "2.0: 1 run missing (seed 5 failed)" in comparison.notes
    assert f"0.5: 1 run without {VALID}: frame evaluate measures it" in comparison.notes
    assert "1 more run not finished and in no row" in comparison.notes


def test_of_a_sweeps_cell_the_newest_run_counts(study: Path) -> None:
    run(study / "runs", 0.5, 1, ELBO__Test=-1000.0)
    run(study / "runs", 0.5, 1, ELBO__Test=-1.0)
    (study / "sweep.yaml").touch()
    comparison = compare(find([study / "runs"]), ["params.beta"], [TEST])
    assert comparison.rows[0].samples[TEST].mean == -1.0 and len(comparison.rows[0].runs) == 1


def test_mixed_protocols_are_named_and_not_averaged(study: Path) -> None:
    run(study, 4.0, 1, ELBO__Test_n50=-90.0)
    with pytest.raises(UserError, match=r"n_samples 100 \(8 runs\) and n_samples 50 \(1 run\)") as caught:
        compare(find([study]), ["params.beta"], [TEST])
    assert "\n" not in str(caught.value)
    run(study, 4.0, 2, ELBO__Test=-90.0)  # two protocols within one row: all runs are counted
    with pytest.raises(UserError, match=r"n_samples 100 \(9 runs\) and n_samples 50 \(1 run\)"):
        compare(find([study]), ["params.beta"], [TEST])


def test_files(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(study), "rows=params.beta", "metrics=[ELBO/Test]", "select=valid"]
    for suffix in ("csv", "md", "tex"):
        assert main([*words, f"out={tmp_path}/t.{suffix}"]) == 0
    printed = capsys.readouterr().out
    assert "*-89.2 ± 6.0" in printed and "mean ± 95 % t interval over seeds" in printed
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [row["params.beta"] for row in rows] == ["0.5", "2.0"]
    assert float(rows[0]["mean"]) == pytest.approx(-89.25) and float(rows[1]["difference"]) == pytest.approx(-1.25)
    assert [row["winner"] for row in rows] == ["True", "False"] and [row["seeds"] for row in rows] == ["4", "4"]
    assert "| **-89.2 ± 6.0** |" in (tmp_path / "t.md").read_text()
    latex = (tmp_path / "t.tex").read_text()
    assert latex.count("\\midrule") == 1 and "\\textbf{-89.2 $\\pm$ 6.0}" in latex and "\\bottomrule" in latex
    assert escape("50 %_{x}") == r"50 \%\_\{x\}"


def test_floors_are_rows_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        run(tmp_path, 0.5, seed, Probe__Test=90.0 + seed, Probe__Test__floor__pixels=80.0)
    assert main(["compare", str(tmp_path), "rows=model", "metrics=[Probe/Test]"]) == 0
    assert "floor: pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rows=params.bta", "metrics=[ELBO/Test]"], "did you mean 'params.beta'?"),
        (["metrics=[ELBO/Tset]"], "did you mean 'ELBO/Test'?"),
        ([], "these runs have: ELBO/Test, ELBO/Validation"),
        (["metrics=[ELBO/Test]", "against=0.7"], "against: no row '0.7'"),
        (["metrics=[ELBO/Test]", "row=model"], "no option of compare 'row': did you mean 'rows'?"),
        (["metrics=[ELBO/Test]", "out=t.pdf"], "it ends in one of .csv, .md, .tex"),
    ],
)
def test_errors(study: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(study), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_an_empty_study_and_one_without_finished_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path), "metrics=[a]"]) == 2
    run(tmp_path, 1.0, 1, state="failed")
    assert main(["compare", str(tmp_path), "metrics=[a]"]) == 2
    error = capsys.readouterr().err
    assert "no run in" in error and "none of 1 run is finished" in error


def test_mixed_parameters_of_a_row_are_named(tmp_path: Path) -> None:
    run(tmp_path, 0.5, 1, ELBO__Test=-90.0)
    run(tmp_path, 2.0, 2, ELBO__Test=-80.0)
    notes = compare(find([tmp_path]), ["model"], [TEST]).notes
    assert "VAE: its runs differ in params.beta and are averaged; rows=... separates them" in notes


def test_the_end_of_training_and_the_last_checkpoint_are_one_protocol(study: Path) -> None:
    for number, file in enumerate(sorted(study.glob("*/*/records.jsonl"))):
        of_callback = json.dumps({"checkpoint": "iteration 9" if number % 2 else "last"})[1:-1]
        file.write_text(file.read_text().replace('"iteration": 9', f'"iteration": 9, {of_callback}'))
    assert compare(find([study]), ["params.beta"], [TEST]).rows[0].samples[TEST].mean == pytest.approx(-89.25)


def test_rounding_errors_are_not_an_interval() -> None:
    assert spread(98.66666666666669, 3e-15) == "98.667" and spread(-90.123, 0.0456) == "-90.123 ± 0.046"
    assert spread(12345.6, 789.0) == "12346 ± 789" and spread(1.5, math.nan) == "1.5"


def test_rows_are_experiments_and_the_parameters_that_vary_within_one(tmp_path: Path) -> None:
    for experiment, beta in (("digits_VAE", 0.5), ("digits_VAE", 2.0), ("digits_AE", 7.0)):
        for seed in (1, 2):
            path = run(tmp_path / experiment, beta, seed, ELBO__Test=-90.0)
            (path / "overrides.yaml").write_text(f"- experiment={experiment}\n- params.beta={beta}\n")
    summaries, _ = counted(find([tmp_path]))
    assert settings(summaries) == ["experiment", "params.beta"]
    assert settings([s for s in summaries if s.experiment == "digits_VAE"]) == ["params.beta"]
    assert settings([s for s in summaries if s.get("params.beta") != 2.0]) == ["experiment"]
    for summary in summaries:
        (summary.run.path / "overrides.yaml").unlink()  # a cell's name is not an experiment
    assert settings(counted(find([tmp_path]))[0]) == ["params.beta"]


def method(folder: Path, name: str, lr: float, seed: int, valid: float, test: float, layer: str = "mean") -> None:
    """A run of experiment `name`, on validation and on test."""
    on_valid = by_hand.record("Probe/Validation", valid, "valid", layer=layer)
    records = [by_hand.record("Probe/Test", test, layer=layer), on_valid]
    encoder = {"_target_": "frame.architectures.base.MLPEncoder", "layers": [128, 64], "z_dim": 8}
    views = {"_target_": "frame.data.views.Views", "augmentations": {"affine": {}, "drop": {}}, "n_views": 2}
    config: dict[str, Any] = {"architectures": {"encoder": encoder}} | ({"data": views} if name == "MIB" else {})
    path = by_hand.run(folder / f"{name}{lr}{seed}", {"lr": lr}, seed, records, model=name, **config)
    (path / "overrides.yaml").write_text(f"- experiment={name}\n")
    (path / "costs.json").write_text('{"parameters": 28048, "flops_per_sample": 1e6, "batch_size": 64}')


def test_the_best_setting_of_each_method_on_valid_and_its_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        method(tmp_path, "VAE", 0.1, seed, valid=80.0 + seed, test=99.0)  # the best on test is not chosen
        method(tmp_path, "VAE", 0.2, seed, valid=90.0 + seed, test=70.0 + seed)
        method(tmp_path, "MIB", 0.1, seed, valid=85.0 + seed, test=75.0 + 2 * seed)
    words = ["compare", str(tmp_path), "rows=experiment,params.lr", "metrics=[Probe/Test]"]
    assert main([*words, "select=valid", "within=experiment", f"out={tmp_path}/t.csv"]) == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [(row["experiment"], row["params.lr"], row["trials"]) for row in rows] == [
        ("MIB", "0.1", "1"),
        ("VAE", "0.2", "2"),
    ]
    assert [row["augmentation"] for row in rows] == ["affine, drop (2 views)", "none"]
    assert rows[0]["encoder"] == "base.MLPEncoder [128, 64]" and rows[0]["parameters"] == "28048"
    assert float(rows[0]["flops"]) == 100 * 64 * 1e6
    printed = capsys.readouterr().out
    assert "VAE: VAE, 0.2 is the best of 2 rows by Probe/Validation" in printed
    assert "28,048" in printed and "6.4 G" in printed
    assert "Probe/Test: test, 300 samples, layer mean, last checkpoint, average weights: 1 posterior" in printed
    assert main([*words, "within=experiment"]) == 2 and "needs select=valid" in capsys.readouterr().err
    assert main([*words, "columns=none"]) == 2
    assert main([*words, "columns=[]"]) == 0 and "trials" not in capsys.readouterr().out.split("\n")[0]


def test_methods_may_differ_in_layer_and_runs_of_one_method_may_not(tmp_path: Path) -> None:
    method(tmp_path, "VAE", 0.1, 1, valid=80.0, test=70.0)
    method(tmp_path, "GAN", 0.1, 1, valid=80.0, test=75.0, layer="features")
    comparison = compare(find([tmp_path]), ["model"], ["Probe/Test"], columns=["layer"])
    assert [row.facts["layer"] for row in comparison.rows] == ["features", "mean"]
    assert any("layer features or mean" in note for note in comparison.notes)
    method(tmp_path, "VAE", 0.1, 2, valid=80.0, test=70.0, layer="features")
    with pytest.raises(UserError, match=r"layer features \(1 run\) and layer mean \(1 run\)"):
        compare(find([tmp_path]), ["model"], ["Probe/Test"])


def test_a_metric_at_an_iteration_or_after_so_many_seconds(tmp_path: Path) -> None:
    for seed in (1, 2):
        found = [by_hand.record("ELBO/Test", i * seed, iteration=100 * i) for i in (1, 2, 3)]
        found += [by_hand.record("ELBO/Test/floor/pca", -i, iteration=100 * i) for i in (1, 2, 3)]
        found.append(by_hand.record("ELBO/Test", 50.0, iteration=200, checkpoint="best"))  # measured afterwards
        by_hand.run(tmp_path / str(seed), {"beta": 1.0}, seed, found)
    metrics = ["ELBO/Test@200", "ELBO/Test@29s", "ELBO/Test@30s"]  # an iteration takes 0.1 s
    made = compare(find([tmp_path]), ["model"], metrics)
    (row,) = made.rows
    assert [row.samples[metric].mean for metric in metrics] == [3.0, 3.0, 4.5]
    assert made.floors["pca"]["ELBO/Test@200"].mean == -2 and made.floors["pca"]["ELBO/Test@30s"].mean == -3
    for wrong, said in (("@250", "after @, write one of its iterations"), ("@soon", "write an iteration, or seconds")):
        with pytest.raises(UserError, match=said):
            compare(find([tmp_path]), ["model"], [f"ELBO/Test{wrong}"])


def test_a_cells_folder_with_equal_signs_is_not_an_option() -> None:
    assert is_place("runs/beta=1,seed=2") and is_place("'runs/beta=*/*'") and is_place("study")
    assert not is_place("metrics=[ELBO/Test]") and not is_place("out=runs/table.md") and not is_place("a.n_samples=1")


A = {1: 1.0, 2: 1.1, 3: 1.2, 4: 10.0}
B = {1: 2.0, 2: 2.11, 3: 2.2}


def rows(folder: Path, values: dict[str, dict[int, float]], name: str = "ELBO/Test", **more: Any) -> Path:
    """An artificial study: a row for each name, a run for each seed."""
    for row, by_seed in values.items():
        for seed, value in by_seed.items():
            records = [by_hand.record(name, value, **more)]
            by_hand.run(folder / f"{row}{seed}" / f"2026-01-0{1 + seed % 9}", {"row": row}, seed, records)
    return folder


def compared(folder: Path, values: dict[str, dict[int, float]], **more: Any) -> Any:
    return compare(find([rows(folder, values, **more)]), ["params.row"], [TEST])


def test_a_row_that_loses_each_pair_has_no_star_however_good_its_mean(tmp_path: Path) -> None:
    made = compared(tmp_path, {"a": A, "b": B})
    a, b = made.rows
    assert a.samples[TEST].mean > b.samples[TEST].mean and not a.bold and b.bold == {TEST}
    one = a.differences[TEST]  # from b, which is the best of the pairs
    assert (one.n, one.mean) == (3, pytest.approx(-1.0033, abs=1e-3)) and one.p < 1e-4
    assert any("means are over all runs of a row" in note and "3 seeds are in all rows" in note for note in made.notes)


def test_the_worst_row_does_not_win_if_less_is_better(tmp_path: Path) -> None:
    made = compared(tmp_path, {"a": {s: -v for s, v in A.items()}, "b": {s: -v for s, v in B.items()}}, better="less")
    assert [row.name for row in made.rows if row.bold] == ["b"]


def test_rows_without_common_seeds_are_compared_by_welch_with_a_note(tmp_path: Path) -> None:
    x, y = {1: 1.0, 2: 1.1, 3: 1.2}, {4: 2.0, 5: 2.2, 6: 2.1}
    made = compared(tmp_path, {"x": x, "y": y})
    reference = stats.ttest_ind([*x.values()], [*y.values()], equal_var=False)
    one = made.rows[0].differences[TEST]
    low, high = reference.confidence_interval(0.95)
    assert (one.n, one.p) == (0, pytest.approx(reference.pvalue))
    assert (one.mean - one.half, one.mean + one.half) == pytest.approx((low, high))
    assert any("tested by Welch's t test" in note for note in made.notes) and made.rows[1].bold == {TEST}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"x": {1: 1.0, 2: 2.0}, "y": {1: 1.5, 2: 2.5}}, "differ by the same for each seed"),
        ({"x": {1: 1.0}, "y": {1: 2.0}}, "too few runs for a test"),
        ({"x": {1: 1.0}, "y": {2: 2.0, 3: 2.1}}, "one seed has no interval"),
        ({"x": {1: 1.0, 2: math.nan, 3: 1.1}, "y": {1: 0.5, 2: 0.1, 3: 0.2}}, "1 run left out, whose ELBO/Test is NaN"),
        ({"x": {1: 1.0, 2: math.inf, 3: 1.1}, "y": {1: 0.5, 2: 0.1, 3: 0.2}}, "1 run left out, whose ELBO/Test is NaN"),
    ],
)
def test_rows_that_cannot_be_tested_have_a_note_and_no_star(
    tmp_path: Path, values: dict[str, dict[int, float]], said: str
) -> None:
    made = compared(tmp_path, values)
    assert any(said in note for note in made.notes), made.notes
    assert not any(row.bold for row in made.rows) and all(math.isfinite(row.samples[TEST].mean) for row in made.rows)


def test_an_interval_of_accuracies_ends_below_100(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = rows(tmp_path / "study", {"x": {1: 99.0, 2: 99.9, 3: 98.0}}, unit="%")
    out = tmp_path / "t.csv"
    assert main(["compare", str(study), "rows=model", "metrics=[ELBO/Test]", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "99.0 [90.5, 99.9]" in printed and "on the logit's scale" in printed and "±" not in printed.split("mean")[0]
    (line,) = csv.DictReader(out.read_text().splitlines())
    # by hand: t of 2 degrees 4.302653, standard deviation 0.950438, p = 0.989667
    half, p = 4.302653 * 0.950438 / math.sqrt(3) / 100, 0.9896667
    ends = [math.log(p / (1 - p)) + sign * half / (p * (1 - p)) for sign in (-1, 1)]
    assert [float(line["low"]), float(line["high"])] == pytest.approx(
        [100 / (1 + math.exp(-x)) for x in ends], abs=1e-3
    )


def test_the_newest_of_several_runs_of_a_seed_counts_with_a_note(tmp_path: Path) -> None:
    for day, beta, value in ((1, 9.0, 1.0), (3, 0.5, 3.0), (2, 2.0, 2.0)):
        records = [by_hand.record(TEST, value)]
        by_hand.run(tmp_path / f"beta={beta}" / f"2026-01-0{day}", {"beta": beta}, 1, records)
    made = compare(find([tmp_path]), ["model"], [TEST])
    assert made.rows[0].samples[TEST].values == {("1", "1"): 3.0}
    (note,) = [note for note in made.notes if "newest of each seed" in note]
    assert "of 3 runs" in note and "1 in all though they differ in params.beta" in note
    assert not any("averaged" in note for note in made.notes)


def families(kind: str, n_rows: int, n_seeds: int, random: np.random.Generator) -> list[dict[int, float]]:
    """Rows of a study without any difference."""
    shift = 3 * random.normal(size=n_seeds)
    found = []
    for i in range(n_rows):
        scale = 10 ** random.uniform(-1, 1) if kind == "spread" else 1.0
        seeds = range(100 * i, 100 * i + n_seeds) if kind == "apart" else range(n_seeds)
        kept = [s for s in seeds if kind != "lost" or s < 2 or random.random() < 0.7]
        drawn = [(0 if kind == "apart" else shift[s % 100]) + scale * random.normal() for s in kept]
        found.append(dict(zip(kept, [round(v) if kind == "ties" else v for v in drawn], strict=True)))
    return found


@pytest.mark.parametrize("kind", ["shared", "apart", "lost", "ties", "spread"])
@pytest.mark.parametrize(("n_rows", "n_seeds"), slow_but([(2, 2), (3, 3)], [(2, 2), (3, 3), (6, 5), (10, 10)]))
def test_without_differences_few_studies_show_one_from_the_best(kind: str, n_rows: int, n_seeds: int) -> None:
    random = np.random.default_rng(0)
    n_studies = 1000 if n_rows < 6 else 200
    studies = [families(kind, n_rows, n_seeds, random) for _ in range(n_studies)]
    pairs = [*itertools.combinations(range(n_rows), 2)]
    # many at once, for speed; another test shows that `compare` prints the same numbers
    found = differences([(study[i], study[j]) for study in studies for i, j in pairs])
    shown_in = 0
    for number, study in enumerate(studies):
        best = ranked(dict(enumerate(study)), less=False)[0]
        after = adjusted(found[number * len(pairs) : (number + 1) * len(pairs)])
        shown_in += any(p < 0.05 for p, pair in zip(after, pairs, strict=True) if best in pair)
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_studies)  # three standard errors of the simulation
    assert shown_in <= limit * n_studies


def test_p_values_are_corrected_over_all_pairs_of_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    study = families("lost", 4, 5, random)
    study[2] = {seed: value + 6 for seed, value in study[2].items()}
    made = compared(tmp_path, {name: study[i] for i, name in enumerate("abcd")})
    pairs = [*itertools.combinations(range(4), 2)]
    after = dict(zip(pairs, adjusted(differences([(study[i], study[j]) for i, j in pairs])), strict=True))
    for i, row in enumerate(made.rows):
        if i != 2:
            assert row.differences[TEST].p == pytest.approx(after[min(i, 2), max(i, 2)])
    assert made.rows[2].bold == ({TEST} if all(p < 0.05 for pair, p in after.items() if 2 in pair) else set())


@pytest.mark.parametrize("kind", ["shared", "apart", "lost", "ties", "spread"])
def test_many_pairs_at_once_have_the_p_values_of_each(kind: str) -> None:
    study = families(kind, 7, 4, np.random.default_rng(5))
    study += [{0: 1.0}, {0: 2.0, 1: 3.0}, {key: value + 1 for key, value in study[0].items()}]
    first, second, p = pairwise(study)
    found = dict(zip(zip(first.tolist(), second.tolist(), strict=True), p.tolist(), strict=True))
    for i, j in itertools.combinations(range(len(study)), 2):
        one = difference(study[i], study[j])
        wanted = 1.0 if one.untold else one.p
        assert found.get((i, j), math.nan) == pytest.approx(wanted, rel=1e-9, nan_ok=True), (i, j)


def test_a_row_named_beforehand_is_tested_with_fewer_corrections(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    values = {name: {s: float(random.normal()) + (name == "e") * 2.5 for s in range(1, 6)} for name in "abcde"}
    runs = find([rows(tmp_path, values)])
    best = compare(runs, ["params.row"], [TEST])
    named = compare(runs, ["params.row"], [TEST], against="e")
    for row, other in zip(best.rows, named.rows, strict=True):
        if row.name != "e":
            assert other.differences[TEST].mean == row.differences[TEST].mean
            assert other.differences[TEST].p <= row.differences[TEST].p
    assert any("over all 10 pairs of rows" in note for note in best.notes)
    assert any("over 4 tests against it" in note for note in named.notes)


def test_a_row_chosen_among_many_is_tested_as_one_of_many(tmp_path: Path) -> None:
    """within= leaves out rows that could have been chosen by chance."""
    for seed in (1, 2, 3):
        for lr in (0.1, 0.2, 0.3):
            method(tmp_path, "VAE", lr, seed, valid=80 + lr + seed, test=80 + lr + seed + 0.01 * seed * lr)
        method(tmp_path, "MIB", 0.1, seed, valid=70.0 + seed, test=70.0 + seed + 0.02 * seed)
    words: Any = {"select": "valid", "within": "experiment"}
    made = compare(find([tmp_path]), ["experiment", "params.lr"], ["Probe/Test"], **words)
    assert len(made.rows) == 2 and any("over all 6 pairs of rows" in note for note in made.notes)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Final", ["select=Final"]),
        ("Final", ["select=valid"]),  # it has no other on valid
        ("A/Test", ["select=A/Test@9"]),
        ("A/Test", ["select=test"]),
        ("A/Validation", ["select=valid"]),  # only its name says valid, not its split
        ("Final", ["sort=Final"]),
        ("A/Test", ["sort=A/Test@9"]),
        ("Final", ["select=Final", "within=model"]),
    ],
)
def test_the_split_and_not_the_name_decides_what_is_chosen_on_test(
    tmp_path: Path, name: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for beta in (0.5, 2.0):
        by_hand.run(tmp_path / str(beta), {"beta": beta}, 1, [by_hand.record(name, beta, iteration=9)])
    words = ["compare", str(tmp_path), "rows=params.beta", f"metrics=[{name}]", *options]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "a row is not chosen on test" in error and "allow_test=true" in error and error.count("\n") == 1
    assert main([*words, "allow_test=true", f"out={tmp_path / 't.md'}"]) == 0
    said = re.compile("chosen on test: |ordered on test: ")
    assert said.search(capsys.readouterr().out) and said.search((tmp_path / "t.md").read_text())
    assert main([*words, "allow_test=yes"]) == 2 and "no allow_test 'yes'" in capsys.readouterr().err


def test_runs_that_were_trained_with_allow_test_are_counted(tmp_path: Path) -> None:
    by_hand.run(tmp_path / "1", {"beta": 1.0}, 1, [by_hand.record(TEST, 1.0)], allow_test=True)
    made = compare(find([tmp_path]), ["model"], [TEST])
    assert any("1 run trained with allow_test=true" in note for note in made.notes)


def test_runs_that_ended_inside_a_schedule_are_named(study: Path) -> None:
    (run, *_) = find([study])
    run.set_status("finished", unfinished=["model.beta"])
    label = compare([run], ["params.beta"], ["ELBO/Test"]).rows[0].name
    notes = compare(find([study]), ["params.beta"], ["ELBO/Test"]).notes
    (note,) = [note for note in notes if "schedule" in note]
    assert note.startswith(f"{label}: 1 of ") and note.endswith(" runs ended inside the schedule of model.beta")
