"""LARS against a slow loop, with rules, schedules and state."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.common.schedules import Cosine
from frame.composition.checks import check
from frame.composition.compose import compose
from frame.composition.stored import resolved
from frame.data.base import Batch
from frame.data.memory import InMemory
from frame.engine.experiment import GIVEN
from frame.models.base import Model
from frame.optimization.batch import BatchOptimization
from frame.optimization.lars import LARS
from tests.optimization.fitting import fit


class Net(Model):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.LayerNorm(2))

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": (self.layers(batch["x"]) - 1).square().mean()}


def slow(w: list[float], g: list[float], v: list[float], lr: float, decay: float, adapt: bool = True) -> None:
    """One step of momentum 0.9 and trust 0.01 on one tensor, number by number, in place."""
    u = [b + decay * a for a, b in zip(w, g, strict=True)]
    norm_w, norm_u = sum(a * a for a in w) ** 0.5, sum(a * a for a in u) ** 0.5
    ratio = 0.01 * norm_w / norm_u if adapt and norm_w > 0 and norm_u > 0 else 1.0
    for i in range(len(w)):
        v[i] = 0.9 * v[i] + lr * ratio * u[i]
        w[i] -= v[i]


@pytest.mark.parametrize("adapt", [True, False])
def test_steps_are_those_of_a_slow_loop(adapt: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 2), (4,), (2,))]
    weights[2].zero_()  # no norm at first
    expected = [(w.flatten().tolist(), [0.0] * w.numel()) for w in weights]
    parameters = [nn.Parameter(w.clone()) for w in weights]
    optimizer = LARS(parameters, lr=0.5, momentum=0.9, weight_decay=0.1, trust=0.01, adapt=adapt)
    for step in range(4):
        for i, (parameter, (w, v)) in enumerate(zip(parameters, expected, strict=True)):
            g = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if step == 2 and i == 1:
                g.zero_()
            parameter.grad = g
            slow(w, g.flatten().tolist(), v, 0.5, 0.1, adapt)
        optimizer.step()
        for parameter, (w, _) in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.detach().flatten(), torch.tensor(w, dtype=torch.float64))


def test_a_parameter_without_gradient_stays() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    first.grad = torch.ones(2)
    LARS([first, second], lr=1.0).step()
    assert first[0] < 1 and torch.equal(second.detach(), torch.ones(2))


RULES = {"no_decay": {"kind": "norms_and_biases", "weight_decay": 0.0, "adapt": False}}


def made(**options: Any) -> BatchOptimization:
    torch.manual_seed(0)
    lr: Any = Cosine(0.5, 0.0, warmup="25%")
    optimizer = partial(LARS, lr=lr, weight_decay=0.1, trust=0.01)
    return BatchOptimization(Net(), optimizer, 8, rules=RULES, **options)


def source() -> InMemory:
    return InMemory(torch.randn(64, 3, generator=torch.Generator().manual_seed(1)))


def test_rules_leave_out_decay_and_adaptation_and_the_rate_follows_its_schedule(tmp_path: Path) -> None:
    optimization = made()
    before = [p.detach().clone() for p in optimization.model.parameters()]
    fit(optimization, source(), 1, tmp_path, length=8)
    groups = {group["adapt"]: group for group in optimization.players["model"].optimizer.param_groups}
    assert groups[True]["weight_decay"] == 0.1 and groups[False]["weight_decay"] == 0.0
    assert groups[True]["lr"] == groups[False]["lr"] == 0.25  # half of the warm-up of two iterations
    for parameter, first in zip(optimization.model.parameters(), before, strict=True):
        moved = (parameter.detach() - first).norm()
        if parameter.dim() == 2:  # lr trust ||w||, whatever the gradient
            assert moved.item() == pytest.approx(0.25 * 0.01 * first.norm().item(), rel=1e-4)


def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole, half, rest = made(), made(), made()
    fit(whole, source(), 8, tmp_path)
    fit(half, source(), 5, tmp_path, length=8)
    fit(rest, source(), 8, tmp_path, state=half.training_state())
    for mine, theirs in zip(rest.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_its_file_goes_with_any_model() -> None:
    plain = resolved(compose(["model=SimCLR", "data=views", "optimization=batch_LARS"]))
    check(plain, plain, GIVEN)
    assert plain["optimization"]["rules"]["no_decay"]["adapt"] is False and plain["optimization"]["lr_batch"] == 256


@pytest.mark.parametrize(
    "wrong", [{"lr": -1}, {"momentum": 1.0}, {"weight_decay": -0.1}, {"trust": 0}, {"adapt": "no"}], ids=str
)
def test_values_out_of_range_are_one_line(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=f"^{name}="):
        LARS([nn.Parameter(torch.ones(1))], **{"lr": 0.1, **wrong})
