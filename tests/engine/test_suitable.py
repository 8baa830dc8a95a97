"""Evaluations that do not suit a run's model or data: one line with who could serve, or left out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import open_dict
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.composition.compose import chosen_evaluation, compose
from frame.composition.folders import OwnFolder, options
from frame.composition.instantiate import instantiate, locate
from frame.composition.stored import stored
from frame.data.base import DataSet
from frame.data.memory import InMemory
from frame.engine.experiment import build
from frame.engine.suitable import _models, suitable
from frame.evaluation.base import Evaluation, Unsuited
from frame.models.base import Model

VAE = ["experiment=digits_VAE", "callbacks=null", "logging=csv"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["experiment=digits_VAE", "+evaluations.accuracy={}"],
            [
                "callbacks.accuracy_valid: AccuracyEvaluation needs a model that has predict(); VAE has none. Models",
                "Classifier, ",
                "VIB",
                "remove it by '~callbacks.accuracy_valid', or write evaluations=auto",
            ],
        ),
        (
            ["experiment=digits_VAE", "+evaluations.mig={on: test}"],
            ["callbacks.mig_test: MIGEvaluation needs 'factors' in the data", "Data sets with 'factors': sprites"],
        ),
        (["experiment=digits_GAN", "+evaluations.linear_probe={}"], ["encode()", "Models that have it: AAE, AE, "]),
        (["experiment=digits_GAN", "+evaluations.knn={}"], ["encode() or features()", "Models that have it: AAE"]),
        (["experiment=digits_VAE", "+evaluations.codebook={}"], ["quantise()", "FSQ", "VQVAE"]),
        (["experiment=digits_AE", "+evaluations.elbo={}"], ["log_likelihood_bound()", "Models that have it: AAE, "]),
        (["experiment=digits_AAE", "+evaluations.elbo={}"], ["needs densities: q(z|x) or p(x|z) of AAE has none"]),
        (["experiment=digits_ConditionalVAE", "+evaluations.knn={}"], ["predicts 'y', which ConditionalVAE is given"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)  # fmt: skip
def test_what_does_not_suit_is_one_line_that_says_who_could_serve(words: list[str], says: list[str]) -> None:
    with pytest.raises(UserError) as error:
        build(compose(words))
    assert "\n" not in str(error.value)
    for part in says:
        assert part in str(error.value), str(error.value)


def test_in_a_list_it_is_taken_out_by_hand() -> None:
    config = compose(VAE)
    node = {"_target_": "frame.callbacks.EvaluationCallback", "name": "A", "evaluate_every": "end"}
    with open_dict(config):
        config.callbacks = [{**node, "evaluator": chosen_evaluation("accuracy", {})}]
    with pytest.raises(UserError, match="callbacks.0: Accuracy.*take it out of the list, or write evaluations=auto"):
        build(config)


@pytest.mark.parametrize("name", options("evaluation"))
def test_some_model_of_ours_serves_every_evaluation(name: str) -> None:
    needs = locate(chosen_evaluation(name, {})["_target_"], name).needs
    found = _models([needs])
    assert found and set(found) <= set(options("model"))
    assert "VAE" not in _models([locate("frame.evaluation.accuracy.AccuracyEvaluation", "").needs])


def test_auto_leaves_out_what_does_not_suit_and_keeps_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    config = compose(VAE)
    with open_dict(config):
        config.evaluations = "auto"
        config.callbacks = compose(["experiment=digits_VAE", "evaluations={accuracy: {}, elbo: {}}"]).callbacks
        config.callbacks.stop = {"_target_": "frame.callbacks.EarlyStopping", "monitor": "ELBO/Validation"}
    built = build(config)
    assert "evaluations" not in built.plain and "accuracy_valid" not in built.plain["callbacks"]
    assert {"elbo_valid", "stop"} <= set(built.plain["callbacks"])
    assert len(built.callbacks) == len(built.plain["callbacks"]) + 1  # the doctor
    said = capsys.readouterr().err
    assert said.count("evaluations=auto: ") == said.count("\n") == 1
    assert "left out, since VAE or its data cannot serve them: accuracy_valid" in said and "stop" not in said


class Table(DataSet):
    """Rows of five numbers, without classes."""

    def load(self, split: str) -> InMemory:
        return InMemory(torch.rand(20, 5, generator=torch.Generator().manual_seed(0)))


class Draws(Model):
    """Draws rows, and does nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        return torch.rand(n_samples, 5)


@pytest.mark.parametrize("name", ["samples", "reconstruction", "traversals", "interpolations", "neighbour_pictures"])
def test_rows_that_are_no_pictures_are_not_drawn(name: str) -> None:
    evaluation: Any = instantiate(chosen_evaluation(name, {}), name)
    evaluation.needs, evaluation.evaluate_on = (), "valid"
    rows = r"draws rows of 1 or 3 channels, \[C, H, W\](, or series \[C, T\])?; those of Table are \[5\]"
    with pytest.raises(Unsuited, match=rows):
        evaluation.check(Draws(), Table())
    node = {"_target_": "frame.callbacks.EvaluationCallback", "name": "A", "evaluate_every": "end"}
    nodes = {"a": {**node, "evaluator": chosen_evaluation("samples", {})}, "b": None}
    assert suitable(nodes, Draws(), Table(), leave_out=True) == ({}, [])


class Slow(Evaluation):
    """Finds nothing, on a split that the data lack."""

    needs_data = ()


def test_a_split_that_the_data_lack() -> None:
    with pytest.raises(Unsuited, match="no split 'tset': did you mean 'test'"):
        Slow("tset").check(Draws(), Table())


def test_a_run_without_an_experiment_stores_the_evaluations_that_suit_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(OwnFolder, "folder", tmp_path)
    (tmp_path / "model").mkdir()
    network = "{_target_: frame.architectures.base.MLP%s, shape: [1, 8, 8], z_dim: 4, layers: [16]}"
    prior = "{_target_: frame.architectures.base.DiagonalNormal, z_dim: 4}"
    text = f"encoder: {network % 'Encoder'}\ndecoder: {network % 'Decoder'}\nprior: {prior}\nbeta: 1.0\n"
    (tmp_path / "model" / "Mine.yaml").write_text("_target_: frame.models.VAE.VAE\n" + text)
    words = ["model=Mine", "data=digits", "optimization=batch_ADAM", "+params.lr=1e-3", "+params.batch_size=64"]
    config = compose([*words, "logging=csv", "~evaluations.linear_probe", "~callbacks.nearest_neighbour_valid"])
    kept = stored(config, build(config).plain)
    assert "evaluations" not in kept
    made = ["elbo_train", "elbo_valid", "reconstruction_valid", "samples", "reconstruction_error_valid"]
    assert list(kept["callbacks"]) == made
    assert f"evaluations=auto: {', '.join(made)}; left out" in capsys.readouterr().err
