"""A trained network starts another run, whose folder needs the first one no longer."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import frame
from frame.commands.main import main
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.engine.experiment import build
from tests.processes import only_run, train

QUICK = ("logging=csv", "evaluations=null", "doctor=null")


@pytest.fixture(scope="module")
def simclr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few iterations of SimCLR with an average of its weights."""
    folder = tmp_path_factory.mktemp("simclr")
    words = ["model=SimCLR", "data=views", "architectures.encoder.layers=[16]", "+optimization.average=0.5"]
    code, printed = train([*words, "train_for=3 iterations", *QUICK], folder)
    assert code == 0, printed
    return only_run(folder)


def word(run: Path, more: str = "") -> str:
    return f"architectures.encoder={{_target_: frame.pretrained, run: {run}{more}}}"


def encoder_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the backbone, of a model whose encoder may lie in another module."""
    return {name.rpartition("backbone.")[2]: p for name, p in model.named_parameters() if "backbone." in name}


def test_a_network_starts_with_the_average_and_without_the_head(
    simclr: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = build(compose(["experiment=digits_Classifier", word(simclr), "params.z_dim=16", *QUICK]))
    given = encoder_of(frame.load(simclr))
    raw = encoder_of(frame.load(simclr, weights="raw"))
    found = encoder_of(made.model)
    assert found.keys() == given.keys() and len(found) == 2
    for name, weight in found.items():
        assert torch.equal(weight, given[name]) and not torch.equal(weight, raw[name]) and weight.requires_grad
    assert "average weights of iteration 3" in capfd.readouterr().err
    assert not [name for name, _ in made.model.named_parameters() if "head" in name and name.startswith("encoder")]


def test_the_new_run_stands_alone(simclr: Path, tmp_path: Path) -> None:
    """Trained with a frozen encoder; then the first run is gone, and the new one is opened, evaluated and resumed."""
    gone = Path(shutil.copytree(simclr, tmp_path / "gone"))
    frozen = "optimization.rules={encoder: {match: encoder.*, freeze: true}}"
    words = ["+experiment=digits_Classifier", word(gone), "params.z_dim=16", frozen, *QUICK]
    code, printed = train([*words, "train_for=3 iterations"], tmp_path)
    assert code == 0, printed
    shutil.rmtree(gone)
    run = only_run(tmp_path)
    for name, weight in encoder_of(frame.load(run)).items():
        assert torch.equal(weight, encoder_of(frame.load(simclr))[name]), name
    kept = frame.open(run).config.pretrained["model.encoder"]
    assert kept.run == str(gone) and kept.weights == "average" and kept.iteration == 3
    assert main(["evaluate", str(run), "evaluation=[accuracy]", "evaluate_on=test"]) == 0
    code, printed = train([f"resume={run}", "train_for=5 iterations"], tmp_path)
    assert code == 0, printed
    # a run that was stopped before its first checkpoint starts from the same weights, which are needed
    shutil.rmtree(run / "checkpoints")
    (run / "status.json").write_text((run / "status.json").read_text().replace('"finished"', '"stopped"'))
    code, printed = train([f"resume={run}"], tmp_path)
    assert code == 2 and "there is no" in printed
    shutil.copytree(simclr, gone)
    code, printed = train([f"resume={run}"], tmp_path)
    assert code == 0, printed
    for name, weight in encoder_of(frame.load(run)).items():
        assert torch.equal(weight, encoder_of(frame.load(simclr))[name]), name


def test_in_a_notebook_it_is_a_module_to_train_on(simclr: Path) -> None:
    encoder: Any = frame.pretrained(str(simclr))
    assert encoder.training and all(p.requires_grad for p in encoder.parameters())
    assert encoder.features(torch.rand(3, 1, 8, 8)).shape == (3, 16)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (", part: model.encodr", "did you mean 'model.encoder'"),
        (", part: model.encoder.backbone", "no network in the config of"),
        (", part: model.projector", "another kind of network"),
        (", checkpoint: best", "has no best checkpoint"),
        (", rum: 3", "no argument of frame.pretrained 'rum'"),
    ],
)
def test_what_does_not_fit_is_one_line(simclr: Path, more: str, expected: str) -> None:
    words = ["experiment=digits_Classifier", word(simclr, more), "params.z_dim=16", *QUICK]
    with pytest.raises(UserError, match=expected):
        build(compose(words))
