"""Each error is one or two lines that name the nearest right answer, with exit code 2 and no folder."""

import sys
from pathlib import Path

import pytest

from frame.commands.main import main
from frame.common.errors import choices
from frame.composition.folders import config_folder
from tests.processes import OWN, train

EXPERIMENTS = [file.stem for file in (config_folder() / "experiment").glob("*.yaml")]


def test_a_long_list_of_names_is_cut_to_those_that_are_similar() -> None:
    line = choices("digits_VEA", EXPERIMENTS, kind="experiment")
    assert line.startswith("no experiment 'digits_VEA': did you mean 'digits_VAE'? There are: ") and len(line) < 500
    assert "digits_AE, " in line and "CIFAR10" not in line and line.endswith(f" and {len(EXPERIMENTS) - 20} more")
    assert choices("d", "abc", kind="letter") == "no letter 'd'. There are: a, b, c"


ERRORS = [
    # composition
    (["experiment=tniy"], ["no experiment 'tniy'", "did you mean 'tiny'"]),
    (["experiment=tiny", "params.bta=1"], ["no key 'params.bta'", "params.beta"]),
    (["experiment=tiny", "+params.bta=1"], ["no key 'params.bta'", "params.beta"]),
    (["experiment=tiny", "trian_for=1"], ["no key 'trian_for'", "train_for"]),
    (["experiment=tiny", "~params.bta"], ["no key 'params.bta'", "params.beta"]),
    (["experiment=tiny", "device=wrkstation"], ["no device 'wrkstation'", "workstation"]),
    (["experiment=tiny", "modle=VAE"], ["'modle'", "model"]),
    (["experiment=tiny", "model=VEA"], ["no model 'VEA'", "VAE"]),
    (["experiment=tiny", "logging=tensorbord"], ["no logging 'tensorbord'", "tensorboard"]),
    (["experiment=tiny", "debug=fats"], ["no debug 'fats'", "fast"]),
    (["experiment=tiny", "params.lr=abc"], ["params.lr=abc", "number"]),
    (["experiment=tiny", "params.batch_size=99999999999999999999"], ["params.batch_size", "below 2^63"]),
    (["experiment=tiny", "params.z_dim=[1,2]"], ["params.z_dim", "number"]),
    (["experiment=tiny", "train_for=5 lightyears and 3"], ["train_for", "20 epochs"]),
    (["experiment=tiny", "seed"], ["seed"]),
    (["experiment=tiny", "-m"], ["-m", "frame sweep"]),
    (["experiment=tiny", "--frobnicate"], ["--frobnicate"]),
    (["model=VAE"], ["no data", "experiment"]),
    ([], ["experiment=digits_VAE"]),
    # constructors
    (["experiment=tiny", "+model.bta=1"], ["bta", "beta"]),
    (["experiment=tiny", "~model.encoder"], ["encoder"]),
    (["experiment=tiny", "+optimization.optimizer.beta=1"], ["beta", "betas"]),
    (["experiment=tiny", "optimization.optimizer.betas=1"], ["+optimization.optimizer.betas"]),
    (["experiment=tiny", "optimization._target_=frame.optimization.batch.BatchOptimisation"], ["BatchOptimization"]),
    (["experiment=tiny", "model._target_=nowhere.VAE"], ["no module 'nowhere'"]),
    (["experiment=tiny", "+trainer.max_epoch=3"], ["max_epoch", "max_epochs"]),
    (["experiment=tiny", "+trainer.precision=17"], ["trainer", "17"]),
    (["experiment=tiny", "optimization.batch_size=many"], ["batch_size=many", "number"]),
    # values
    (["experiment=tiny", "params.beta=-1"], ["beta=-1"]),
    (["experiment=tiny", "params.z_dim=0"], ["z_dim=0"]),
    (["experiment=tiny", "params.batch_size=0"], ["batch_size=0"]),
    (["experiment=tiny", "params.lr=-1"], ["-1"]),
    (["experiment=tiny", "optimization.average=1.5"], ["average=1.5", "0.999"]),
    (["experiment=tiny", "train_for=0 epochs"], ["train_for", "above 0"]),
    (["experiment=tiny", "train_for=20 epohcs"], ["epohcs", "epochs"]),
    (["experiment=tiny", "callbacks.elbo_valid.evaluate_every=10 secnods"], ["secnods", "seconds"]),
    (["experiment=tiny", "checkpoint.every=often"], ["checkpoint.every", "often"]),
    (["experiment=tiny", "device.gpus=64"], ["gpus=64", "auto"]),
    (["experiment=tiny", "data.binarize=dynamc"], ["dynamc", "dynamic"]),
    (["experiment="], ["no experiment ''", "tiny"]),
    (["experiment=tiny", "weights=mean"], ["no choice 'mean'", "average"]),
    (["experiment=tiny", "checkpoint.mode=most"], ["no choice 'most'", "max"]),
    # schedules and rules
    (
        [
            "experiment=tiny",
            "params.lr={_target_: frame.common.schedules.Cosine, start: 1.0, end: 0.0, over: 5 epochs}",
        ],
        ["lr of model", "5%", "cut_schedules"],
    ),
    (
        ["experiment=tiny", "params.beta={_target_: frame.common.schedules.Linear, start: 0, end: 1, over: 120%}"],
        ["120%", "more than the whole run"],
    ),
    (
        ["experiment=tiny", "params.beta={_target_: frame.common.schedules.Linar, start: 0, end: 1}"],
        ["Linar", "did you mean 'Linear'"],
    ),
    (
        ["experiment=tiny", "optimization.rules={a: {match: encodr.*, freeze: true}}"],
        ["matches no parameter", "encoder."],
    ),
    (["experiment=tiny", "optimization.rules={a: {match: '*', freeze: true}}"], ["freeze all parameters"]),
    (["experiment=tiny", "optimization.rules={a: {match: '*', weight_decai: 1}}"], ["weight_decai", "weight_decay"]),
    # the dry pass
    (["experiment=tiny", "architectures.encoder.shape=[1,9,9]"], ["encoder", "81x32"]),
    (["experiment=tiny", "architectures.decoder.z_dim=5"], ["z_dim"]),
    (["experiment=digits_ConditionalVAE", "model.n_classes=9"], ["n_classes differs", "model 9"]),
    (
        ["experiment=tiny", "callbacks.elbo_valid.evaluator._target_=frame.evaluation.accuracy.AccuracyEvaluation"],
        ["predict", "VAE"],
    ),
    (["experiment=tiny", "checkpoint.best=ELBO/Valid"], ["ELBO/Valid", "ELBO/Validation"]),
    (["experiment=tiny", "callbacks.elbo_valid.evaluator.evaluate_on=tset"], ["tset", "test"]),
    (
        [
            "experiment=tiny",
            "+callbacks.plateau={_target_: frame.callbacks.ReduceOnPlateau, monitor: ELBO/Validation}",
            "params.lr={_target_: frame.common.schedules.Constant, value: 1e-3, warmup: 5%}",
        ],
        ["ReduceOnPlateau", "schedule of lr", "remove one"],
    ),
    (["experiment=digits_VAE", "params.z_dim=1e1"], ["params.z_dim=10.0", "wants int"]),
    (["experiment=digits_SimCLR", "data.augmentations.drop=7"], ["data.augmentations.drop=7", "wants Module or null"]),
    (["experiment=digits_FixMatch", "data.strong.affine=0.5"], ["data.strong.affine=0.5", "wants Module or null"]),
    (["experiment=digits_SimCLR", "data.augmentations.affine=[1,2]"], ["set data.augmentations.affine.rotation="]),
    (["experiment=digits_BetaTCVAE", "model.n_data=50"], ["n_data=50", "1297 rows", "set model.n_data"]),
    (
        ["experiment=digits_MIB", "data=digits"],
        ["MIB needs 'views'", "Data sets with 'views': ", ", gaussians, views,"],
    ),
    (["experiment=digits_MIB", "data.n_views=1"], ["two views", "data.n_views=2"]),
    # the machine
    (["experiment=MNIST_VAE", "device.data_root=nowhere", "device.download_files=false"], ["nowhere", "train-images"]),
    (["experiment=tiny", "device.experiments_root=output.txt/below"], ["output.txt", "experiments_root"]),
]


@pytest.mark.parametrize(("words", "says"), ERRORS, ids=lambda value: " ".join(value)[:60])
def test_an_error_is_one_line(
    words: list[str],
    says: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "output.txt").write_text("a file where a folder should be")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code = main(["train", "--config-dir", str(OWN / "config"), *words])
    check(code, "".join(capsys.readouterr()), says, tmp_path)


REAL = ("experiment=tniy", "+model.bta=1", "architectures.encoder.shape=[1,9,9]")  # one of each of the first kinds


@pytest.mark.parametrize(("words", "says"), [case for case in ERRORS if case[0][-1:] and case[0][-1] in REAL])
def test_an_error_of_a_real_process_is_one_line(words: list[str], says: list[str], tmp_path: Path) -> None:
    code, output = train(words, tmp_path)
    check(code, output, says, tmp_path)


def check(code: int, output: str, says: list[str], cwd: Path) -> None:
    assert code == 2, output
    assert "Traceback" not in output
    lines = output.strip().splitlines()
    assert 1 <= len(lines) <= 2, output
    for text in says:
        assert text in output, output
    assert not (cwd / "runs").exists(), "a folder was left behind"
