"""The untrained floor of a run: its model before training, whatever its modules have for methods."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from frame.composition.compose import compose
from frame.composition.folders import OwnFolder
from frame.data.base import Batch
from frame.engine import experiment
from frame.engine.opening import open as open_run
from frame.engine.reevaluate import evaluate_run
from frame.evaluation.floors import as_before_training, floors_of
from frame.models.base import Model
from frame.probability.distributions import Delta


class Loose(Model):
    """Parameters that no method resets, and weights that are not the default ones of their module."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(64))
        self.linear = nn.Linear(64, 4)
        nn.init.orthogonal_(self.linear.weight)

    def encode(self, x: Tensor) -> Delta:
        return Delta(self.linear(x.flatten(1) * self.scale))

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.encode(batch["x"]).mean.square().mean()}


FILE = """# @package _global_
params: {lr: 0.1, batch_size: 64}
model: {_target_: tests.evaluation.test_floors.Loose}
callbacks:
  knn:
    _target_: frame.callbacks.EvaluationCallback
    name: knn
    evaluate_every: end
    evaluator:
      _target_: frame.evaluation.neighbours.NeighbourEvaluation
      evaluate_on: valid
      floors: [untrained]
"""
WORDS = [
    "model=Loose",
    "data=digits",
    "optimization=batch_ADAM",
    "logging=csv",
    "doctor=null",
    "device.gpus=0",
    "seed=3",
]
WORDS += ["train_for=3 iterations"]


def test_a_model_without_reset_parameters_has_the_same_floor_in_training_and_reopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "model").mkdir(parents=True)
    (tmp_path / "config" / "model" / "Loose.yaml").write_text(FILE)
    monkeypatch.setattr(OwnFolder, "folder", tmp_path / "config")
    first: list[Tensor] = []
    fitted = experiment.fit

    def fit(built: experiment.Experiment, *rest: object) -> int:
        first.extend(weights.clone() for weights in built.model.state_dict().values())
        return fitted(built, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(experiment, "fit", fit)
    assert experiment.train(compose(WORDS), WORDS) == 0
    (folder,) = tmp_path.glob("runs/*/*")
    assert evaluate_run(folder, packages=["tests"], again=True).measured == 1
    run = open_run(folder, packages=["tests"])
    trained, later = [r for r in run.folder.records if r["name"].endswith("floor/untrained")]
    assert trained["value"] == later["value"] and later["checkpoint"] == "last"
    assert not torch.equal(run.model.state_dict()["scale"], first[0])
    with floors_of(lambda: experiment.instantiate(run.folder.filled("model"), "model"), 3):
        fresh = as_before_training(run.model)
        again = as_before_training(run.model)
    assert fresh is not None and again is not None
    for found in (fresh, again):
        for mine, was in zip(found.state_dict().values(), first, strict=True):
            assert torch.equal(mine, was)


def test_it_draws_nothing_from_the_noise_of_training() -> None:
    model = nn.Linear(1, 1)
    before = torch.get_rng_state()
    with floors_of(Loose, 5):
        assert isinstance(as_before_training(model), Loose)
    assert torch.equal(torch.get_rng_state(), before)


def test_outside_of_a_run_there_is_none() -> None:
    assert as_before_training(nn.Linear(2, 2)) is None
