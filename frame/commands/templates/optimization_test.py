"""Steps of Mine: each round is one, and a run trains by it."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from frame.commands.templates.optimization import Mine
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import use_own_folder
from frame.data.base import Batch
from frame.engine.experiment import train
from frame.models.base import Model

CONFIG = Path(__file__).parents[1] / "config"


class Bowl(Model):
    """w^2, whose gradient descent with step size 1/4 halves w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(()))

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.w.square()}


@pytest.mark.parametrize("rounds", [1, 3])
def test_each_round_is_a_step(rounds: int) -> None:
    model = Bowl()
    optimization = Mine(model, partial(torch.optim.SGD, lr=0.25), batch_size=1, rounds=rounds)
    optimization.configure_optimizers()
    optimization.accumulated = 1
    optimization.step({"x": torch.zeros(1)})
    assert model.w.item() == 0.5**rounds


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UserError, match="rounds"):
        Mine(Bowl(), partial(torch.optim.SGD, lr=0.25), batch_size=1, rounds=0)


def test_a_run_trains_by_it(tmp_path: Path) -> None:
    use_own_folder(CONFIG)
    words = ["experiment=digits_VAE", "optimization=Mine"]
    quick = ["train_for=3 iterations", "logging=csv", "callbacks=null", f"device.experiments_root={tmp_path}"]
    assert train(compose([*words, *quick]), words) == 0
