"""The adversarial and the joint procedure, and coefficients: which player steps when, with which gradient."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import DiagonalNormal
from frame.common.errors import UserError
from frame.common.schedules import Coefficient, Linear, coefficient
from frame.data.base import Batch
from frame.data.memory import InMemory
from frame.models.base import AdversarialModel, Model
from frame.models.Classifier import Classifier
from frame.models.Joint import Joint
from frame.models.VAE import VAE
from frame.optimization.adversarial import AdversarialOptimization
from frame.optimization.base import Optimization, OptimizerPartial, Player
from frame.optimization.batch import BatchOptimization
from frame.optimization.joint import JointOptimization
from tests import digits
from tests.optimization.fitting import fit
from tests.own.toys import Duel

adam, sgd = partial(torch.optim.Adam, lr=0.1), partial(torch.optim.SGD, lr=0.01)


def pictures() -> InMemory:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (64, 1, 2, 2), dtype=torch.uint8, generator=generator)
    return InMemory(x, torch.arange(64) % 10)


def copies(players: dict[str, Player]) -> dict[str, list[Tensor]]:
    return {name: [p.detach().clone() for p in player.parameters] for name, player in players.items()}


@contextmanager
def watching_updates(
    monkeypatch: pytest.MonkeyPatch, optimization: Optimization
) -> Iterator[list[tuple[str, set[str]]]]:
    """Each update: (the player that stepped, the players whose weights changed)."""
    seen: list[tuple[str, set[str]]] = []
    whole = Player.update

    def update(player: Player) -> None:
        before = copies(optimization.players)
        whole(player)
        now = copies(optimization.players)
        (who,) = [name for name, other in optimization.players.items() if other is player]
        changed = {n for n in now if any(not torch.equal(a, b) for a, b in zip(now[n], before[n], strict=True))}
        seen.append((who, changed))

    monkeypatch.setattr(Player, "update", update)
    yield seen


@pytest.mark.parametrize("n_adversary_steps", [1, 3])
def test_each_player_moves_alone(n_adversary_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimization = AdversarialOptimization(Duel(4), adam, adam, 16, n_adversary_steps)
    with watching_updates(monkeypatch, optimization) as seen:
        fit(optimization, pictures(), 6, tmp_path)
    alone = [("adversary", {"adversary"})]
    assert seen == (alone * n_adversary_steps + [("model", {"model"})]) * (6 // n_adversary_steps)
    assert all(p.requires_grad for p in optimization.model.parameters())
    assert optimization.counters["iterations"] == 6


def test_all_batches_of_an_accumulation_go_to_one_player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimization = AdversarialOptimization(Duel(4), adam, adam, 8, n_adversary_steps=2, accumulate=2)
    with watching_updates(monkeypatch, optimization) as seen:
        fit(optimization, pictures(), 8, tmp_path)
    assert [who for who, _ in seen] == ["adversary", "adversary", "model"] * 2
    assert [{k for k in loss if "/" not in k} for loss in optimization.recent] == ([set()] * 2 + [{"loss"}] * 2) * 2


def test_no_gradient_leaks_into_the_other_player(tmp_path: Path) -> None:
    still = partial(torch.optim.SGD, lr=0.0)
    optimization = AdversarialOptimization(Duel(4), still, still, 16, accumulate=2)
    fit(optimization, pictures(), 1, tmp_path)  # half of an accumulation, with a step at the end
    assert all(p.grad is None for p in optimization.model.parameters())


class Saddle(AdversarialModel):
    """min over x, max over y of x * y: simultaneous and alternating descent have known steps."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(1.0))
        self.adversary: nn.Linear = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.adversary.weight)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": (self.adversary.weight * self.x).sum()}

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": -(self.adversary.weight * self.x).sum()}


def test_steps_and_clips_are_those_by_hand(tmp_path: Path) -> None:
    x = y = 1.0
    optimization = AdversarialOptimization(
        Saddle(), partial(torch.optim.SGD, lr=0.1), partial(torch.optim.SGD, lr=0.2), 8, 2, clip=0.5, adversary_clip=2.0
    )
    fit(optimization, pictures(), 4, tmp_path)
    for i in range(4):
        y += 0.2 * min(x, 2.0)
        if i % 2 == 1:
            x -= 0.1 * min(y, 0.5)
    assert isinstance(optimization.model, Saddle)
    assert optimization.model.x.item() == pytest.approx(x, rel=1e-5)
    assert optimization.model.adversary.weight.item() == pytest.approx(y, rel=1e-5)


def test_a_model_without_an_adversary_is_refused() -> None:
    with pytest.raises(UserError, match="has no adversary"):
        AdversarialOptimization(Flat(), adam, adam, 8)
    with pytest.raises(UserError, match="has an adversary"):
        BatchOptimization(Duel(4), adam, 8)


class Flat(Model):
    """A parabola in its own weight; `shared` may be another model's."""

    def __init__(self, target: float = 0.0, shared: nn.Linear | None = None) -> None:
        super().__init__()
        self.layer = shared or nn.Linear(1, 1, bias=False)
        self.target = target

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": (self.layer.weight - self.target).square().sum()}


def test_separate_and_summed_steps_agree_if_nothing_is_shared(tmp_path: Path) -> None:
    ends = []
    for summed in (False, True):
        torch.manual_seed(0)
        joint = Joint({"a": Flat(1.0), "b": Flat(2.0)})
        optimization = JointOptimization(joint, sgd, 8, optimizers={"b": adam}, summed=summed)
        fit(optimization, pictures(), 5, tmp_path)
        ends.append([p.detach().clone() for p in joint.parameters()])
    torch.manual_seed(0)
    alone: list[Tensor] = []
    optimizers: list[OptimizerPartial] = [sgd, adam]
    for model, optimizer in zip([Flat(1.0), Flat(2.0)], optimizers, strict=True):
        fit(BatchOptimization(model, optimizer, 8), pictures(), 5, tmp_path)
        alone += [p.detach() for p in model.parameters()]
    for end in ends:
        for p, q in zip(end, alone, strict=True):
            torch.testing.assert_close(p, q)


@pytest.mark.parametrize(("summed", "target"), [(True, 3.0), (False, 0.0)])
def test_a_shared_network_follows_the_sum_or_its_first_model(summed: bool, target: float, tmp_path: Path) -> None:
    """Summed: the minimum of w^2 + 3 (w - 4)^2 is at 3. Separate: the second model cannot move it from 0."""
    layer = nn.Linear(1, 1, bias=False)
    joint = Joint({"a": Flat(0.0, layer), "b": Flat(4.0, layer)}, weights={"b": 3.0})
    optimization = JointOptimization(joint, partial(torch.optim.SGD, lr=0.1), 8, summed=summed)
    fit(optimization, pictures(), 50, tmp_path)
    assert layer.weight.item() == pytest.approx(target, abs=1e-3)


def test_each_model_has_its_optimizer_and_schedule() -> None:
    vae = VAE(digits.Encoder(2, [4]), digits.Decoder(2, [4]), DiagonalNormal(2), 1.0)
    joint = Joint({"vae": vae, "classifier": Classifier(digits.Encoder(2, [4]), digits.Predictor(2))})
    assert joint.needs == ("x", "y")
    falling: Any = torch.optim.Adam
    falls = partial(falling, lr=Linear(1.0, 0.0, "4 iterations"))
    optimizers: dict[str, Any] = {"vae": sgd, "classifier": falls}
    players = JointOptimization(joint, adam, 8, optimizers=optimizers).grouped_players()
    assert isinstance(players["vae"].optimizer, torch.optim.SGD) and not players["vae"].schedules("lr")
    assert isinstance(players["classifier"].optimizer, torch.optim.Adam) and players["classifier"].schedules("lr")
    sizes = [sum(p.numel() for p in player.parameters) for player in players.values()]
    assert sum(sizes) == sum(p.numel() for p in joint.parameters()) and min(sizes) > 0
    with pytest.raises(UserError, match="did you mean 'vae'"):
        JointOptimization(joint, adam, 8, optimizers={"vea": sgd})
    with pytest.raises(UserError, match="holds no models"):
        JointOptimization(vae, adam, 8)
    with pytest.raises(UserError, match="has an adversary"):
        Joint({"duel": Duel(4)})


# Coefficients


class Weighted(Model):
    """Remembers the weight with which each of its losses was taken."""

    def __init__(self, weight: Coefficient | float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.weight = coefficient("weight", weight)
        self.seen: list[float] = []

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        self.seen.append(round(self.weight().item(), 6))
        return {"loss": self.weight() * self.w}


def test_the_weight_of_a_step_depends_on_the_iterations_before_it(tmp_path: Path) -> None:
    """64 rows in batches of 16: an epoch is 4 iterations, and half an epoch is 2."""
    for over in ("4 iterations", "1 epoch", "64 samples"):
        model = Weighted(Linear(0.0, 1.0, over))
        optimization = BatchOptimization(model, sgd, 16, average=0.5)
        fit(optimization, pictures(), 6, tmp_path)
        assert model.seen == [0, 0.25, 0.5, 0.75, 1, 1]
        assert optimization.coefficients() == {"weight": 1.0}
        averaged = optimization.evaluated
        assert isinstance(averaged, Weighted) and averaged is not model and averaged.weight().item() == 1.0


def test_a_checkpoint_contains_schedules_and_no_constant_coefficients() -> None:
    assert list(Weighted(1.0).state_dict()) == ["w"]
    assert list(Weighted(Linear(0.0, 1.0, "5 epochs")).state_dict()) == ["w", "weight.value"]
