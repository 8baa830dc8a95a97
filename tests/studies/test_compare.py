"""Comparisons: their statistics against scipy and numbers worked out by hand, and the tables as files."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from frame.cli import main
from frame.commandline import is_place
from frame.listing import find
from frame.mistakes import Mistake
from frame.studies.compare import compare, counted
from frame.studies.intervals import holm, interval, paired, spread
from frame.studies.series import settings
from frame.studies.tables import escape
from tests.studies import by_hand

TEST, VALID = "ELBO/Test", "ELBO/Validation"


def run(folder: Path, beta: float, seed: int, state: str = "finished", **values: Any) -> Path:
    path = folder / f"beta={beta},seed={seed}" / "2026-01-01_00-00-00"
    while path.exists():
        path = path.with_name(path.name + "_2")
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(
        f"experiment_name: a\nseed: {seed}\nseeds: {{init: '${{seed}}', data: '${{seed}}'}}\nparams: {{beta: {beta}}}\n"
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
    """Two rows whose seeds move together: the difference is far clearer than the means."""
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


def test_the_paired_difference_is_scipys_and_takes_the_shared_seeds_alone() -> None:
    a = {1: 1.0, 2: 2.0, 3: 4.5, 9: 100.0}
    b = {3: 4.0, 2: 1.7, 1: 0.4, 7: -50.0}
    found = paired(a, b)
    reference = stats.ttest_rel([1.0, 2.0, 4.5], [0.4, 1.7, 4.0])
    assert (found.n, found.mean, found.p) == (3, pytest.approx(1.4 / 3), pytest.approx(reference.pvalue))
    low, high = reference.confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert math.isnan(paired({1: 93.1, 2: 92.7, 3: 0.3}, {1: 93.0, 2: 92.6, 3: 0.2}).p)  # equal but for rounding
    assert paired({1: 1.0}, {2: 1.0}).n == 0 and math.isnan(paired({1: 1.0}, {1: 0.0}).p)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 * 0.01; 2 * 0.03; then no less than that
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([math.nan, 0.01, 0.04], [math.nan, 0.02, 0.04]),
    ],
)
def test_holm_by_hand(p: Sequence[float], adjusted: Sequence[float]) -> None:
    assert holm(p) == pytest.approx(adjusted, nan_ok=True)


def test_pairs_tell_apart_what_means_do_not(study: Path) -> None:
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
    assert any("no winner in ELBO/Test: 2.0 is not told apart from 0.5" in note for note in comparison.notes)


def test_it_chooses_on_valid_and_reports_test(study: Path) -> None:
    comparison = compare(find([study]), ["params.beta"], [TEST], select="valid")
    assert [row.chosen for row in comparison.rows] == [False, True]  # though 0.5 is better on test
    assert any(note.startswith("2.0 is chosen by ELBO/Validation") for note in comparison.notes)
    for select in ("test", TEST):
        with pytest.raises(Mistake, match="a row is not chosen on test"):
            compare(find([study]), ["params.beta"], [TEST], select=select)


def test_less_is_better_where_that_is_said(study: Path) -> None:
    comparison = compare(find([study]), ["params.beta"], [TEST], minimize=[TEST], sort=TEST)
    assert comparison.rows[0].label == ("2.0",) and TEST in comparison.rows[0].bold


@pytest.mark.parametrize(("better", "winner"), [("less", "2.0"), ("more", "0.5"), ("", None)])
def test_the_record_says_what_is_better(study: Path, better: str, winner: str | None) -> None:
    for path in study.glob("*/*/records.jsonl"):
        records = [json.loads(line) | {"better": better} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    comparison = compare(find([study]), ["params.beta"], [TEST], sort=TEST)
    assert [row.name for row in comparison.rows if row.bold] == ([winner] if winner else [])
    assert comparison.rows[0].name == (winner or "0.5")
    assert any(note.endswith("; less is better") for note in comparison.notes) is (better == "less")
    assert any("there is no winner" in note for note in comparison.notes) is (better == "")


def test_what_is_missing_is_counted(study: Path) -> None:
    run(study, 2.0, 5, state="failed")
    run(study, 0.5, 5, ELBO__Test=-90.0)
    run(study, 8.0, 1, state="stopped")
    comparison = compare(find([study]), ["params.beta"], [TEST, VALID])
    assert "2.0: 1 runs missing (seed 5 failed)" in comparison.notes
    assert f"0.5: 1 runs have no {VALID}: frame evaluate measures it" in comparison.notes
    assert "1 more runs are not finished, in no row" in comparison.notes


def test_of_a_sweeps_cell_the_newest_run_counts(study: Path) -> None:
    run(study / "runs", 0.5, 1, ELBO__Test=-1000.0)
    run(study / "runs", 0.5, 1, ELBO__Test=-1.0)
    (study / "sweep.yaml").touch()
    comparison = compare(find([study / "runs"]), ["params.beta"], [TEST])
    assert comparison.rows[0].samples[TEST].mean == -1.0 and len(comparison.rows[0].runs) == 1


def test_mixed_protocols_are_named_and_not_averaged(study: Path) -> None:
    run(study, 4.0, 1, ELBO__Test_n50=-90.0)
    with pytest.raises(Mistake, match=r"n_samples 100 \(8 runs\) and n_samples 50 \(1 runs\)") as caught:
        compare(find([study]), ["params.beta"], [TEST])
    assert "\n" not in str(caught.value)
    run(study, 4.0, 2, ELBO__Test=-90.0)  # two ways within one row: all runs are counted
    with pytest.raises(Mistake, match=r"n_samples 100 \(9 runs\) and n_samples 50 \(1 runs\)"):
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
def test_mistakes(study: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(study), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_an_empty_study_and_one_without_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path), "metrics=[a]"]) == 2
    run(tmp_path, 1.0, 1, state="failed")
    assert main(["compare", str(tmp_path), "metrics=[a]"]) == 2
    error = capsys.readouterr().err
    assert "no run in" in error and "none of 1 runs is finished" in error


def test_what_a_row_mixes_is_said(tmp_path: Path) -> None:
    run(tmp_path, 0.5, 1, ELBO__Test=-90.0)
    run(tmp_path, 2.0, 2, ELBO__Test=-80.0)
    notes = compare(find([tmp_path]), ["model"], [TEST]).notes
    assert "VAE: its runs differ in params.beta and are averaged; rows=... parts them" in notes


def test_the_last_of_training_and_the_last_checkpoint_are_one_protocol(study: Path) -> None:
    for number, file in enumerate(sorted(study.glob("*/*/records.jsonl"))):
        of_callback = json.dumps({"checkpoint": "iteration 9" if number % 2 else "last"})[1:-1]
        file.write_text(file.read_text().replace('"iteration": 9', f'"iteration": 9, {of_callback}'))
    assert compare(find([study]), ["params.beta"], [TEST]).rows[0].samples[TEST].mean == pytest.approx(-89.25)


def test_the_dust_of_a_sum_is_no_interval() -> None:
    assert spread(98.66666666666669, 3e-15) == "98.667" and spread(-90.123, 0.0456) == "-90.123 ± 0.046"
    assert spread(12345.6, 789.0) == "12346 ± 789" and spread(1.5, math.nan) == "1.5"


def test_rows_are_experiments_where_there_are_several_and_what_varies_within_one(tmp_path: Path) -> None:
    for experiment, beta in (("digits_VAE", 0.5), ("digits_VAE", 2.0), ("digits_AE", 7.0)):
        for seed in (1, 2):
            path = run(tmp_path / experiment, beta, seed, ELBO__Test=-90.0)
            (path / "overrides.yaml").write_text(f"- experiment={experiment}\n- params.beta={beta}\n")
    summaries, _ = counted(find([tmp_path]))
    assert settings(summaries) == ["experiment", "params.beta"]
    assert settings([s for s in summaries if s.experiment == "digits_VAE"]) == ["params.beta"]
    assert settings([s for s in summaries if s.get("params.beta") != 2.0]) == ["experiment"]
    for summary in summaries:
        (summary.run.path / "overrides.yaml").unlink()  # a cell's name is no experiment
    assert settings(counted(find([tmp_path]))[0]) == ["params.beta"]


def method(folder: Path, name: str, lr: float, seed: int, valid: float, test: float, layer: str = "mean") -> None:
    """A run of experiment `name`, on validation and on test."""
    on_valid = by_hand.record("Probe/Validation", valid, "valid", layer=layer)
    records = [by_hand.record("Probe/Test", test, layer=layer), on_valid]
    encoder = {"_target_": "frame.architectures.digits.Encoder", "layers": [128, 64], "z_dim": 8}
    views = {"_target_": "frame.data.views.Views", "augmentations": {"affine": {}, "drop": {}}, "n_views": 2}
    config: dict[str, Any] = {"architectures": {"encoder": encoder}} | ({"data": views} if name == "MIB" else {})
    path = by_hand.run(folder / f"{name}{lr}{seed}", {"lr": lr}, seed, records, model=name, **config)
    (path / "overrides.yaml").write_text(f"- experiment={name}\n")
    (path / "facts.json").write_text('{"parameters": 28048, "flops_per_sample": 1e6, "batch_size": 64}')


def test_of_each_method_the_best_setting_on_valid_and_what_it_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        method(tmp_path, "VAE", 0.1, seed, valid=80.0 + seed, test=99.0)  # the best on test is not what is chosen
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
    assert rows[0]["encoder"] == "digits.Encoder [128, 64]" and rows[0]["parameters"] == "28048"
    assert float(rows[0]["flops"]) == 100 * 64 * 1e6
    printed = capsys.readouterr().out
    assert "VAE: VAE, 0.2 is the best of 2 rows by Probe/Validation" in printed
    assert "28,048" in printed and "6.4 G" in printed
    assert "Probe/Test: test, 300 samples, layer mean, last checkpoint, average weights: 1 posterior" in printed
    assert main([*words, "within=experiment"]) == 2 and "needs select=valid" in capsys.readouterr().err
    assert main([*words, "columns=none"]) == 2
    assert main([*words, "columns=[]"]) == 0 and "trials" not in capsys.readouterr().out.split("\n")[0]


def test_methods_may_be_measured_at_their_own_layers_and_runs_of_one_may_not(tmp_path: Path) -> None:
    method(tmp_path, "VAE", 0.1, 1, valid=80.0, test=70.0)
    method(tmp_path, "GAN", 0.1, 1, valid=80.0, test=75.0, layer="features")
    comparison = compare(find([tmp_path]), ["model"], ["Probe/Test"], columns=["layer"])
    assert [row.facts["layer"] for row in comparison.rows] == ["features", "mean"]
    assert any("layer features or mean" in note for note in comparison.notes)
    method(tmp_path, "VAE", 0.1, 2, valid=80.0, test=70.0, layer="features")
    with pytest.raises(Mistake, match=r"layer features \(1 runs\) and layer mean \(1 runs\)"):
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
    for wrong, said in (("@250", "@ has to be one of its iterations"), ("@soon", "stands an iteration, or seconds")):
        with pytest.raises(Mistake, match=said):
            compare(find([tmp_path]), ["model"], [f"ELBO/Test{wrong}"])


def test_a_cells_folder_has_equal_signs_and_is_no_option() -> None:
    assert is_place("runs/beta=1,seed=2") and is_place("'runs/beta=*/*'") and is_place("study")
    assert not is_place("metrics=[ELBO/Test]") and not is_place("out=runs/table.md") and not is_place("a.n_samples=1")
