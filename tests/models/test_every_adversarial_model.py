"""Every adversarial model of an experiment, under the real procedure: each step changes only one player."""

from pathlib import Path
from typing import Any

import pytest
import torch

from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.models.base import AdversarialModel
from frame.optimization.adversarial import AdversarialOptimization
from frame.optimization.base import Player
from tests.models.test_every_model import CASES, USED, composed, model_class, rows
from tests.optimization.fitting import fit

ADVERSARIAL = [name for name in CASES if issubclass(model_class(USED[name]), AdversarialModel)]


def test_there_are_adversarial_models() -> None:
    assert {"GAN", "WGAN_GP", "BiGAN", "InfoGAN"} <= {USED[name] for name in ADVERSARIAL}


@pytest.mark.parametrize("experiment", ADVERSARIAL)
def test_a_step_leaves_the_other_players_weights_bit_identical(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = composed(experiment)
    config.params.batch_size = 8
    config.params.n_adversary_steps = 2
    optimization: Any = instantiate(resolved(config.optimization), model=instantiate(resolved(config.model)))
    assert isinstance(optimization, AdversarialOptimization)
    step, seen = Player.update, []

    def weights(player: Player) -> list[bytes]:
        return [p.detach().numpy().tobytes() for p in player.parameters]

    def update(self: Player) -> None:
        (who,) = [name for name, player in optimization.players.items() if player is self]
        before = {name: weights(player) for name, player in optimization.players.items()}
        step(self)
        seen.append((who, {name for name, p in optimization.players.items() if weights(p) != before[name]}))

    monkeypatch.setattr(Player, "update", update)
    fit(optimization, rows(config, 32), 4, tmp_path)
    assert seen == [("adversary", {"adversary"})] * 2 + [("model", {"model"})] + [("adversary", {"adversary"})] * 2 + [
        ("model", {"model"})
    ]
    model = optimization.model
    everyone = [id(p) for player in optimization.players.values() for p in player.parameters]
    assert sorted(everyone) == sorted(id(p) for p in model.parameters())
