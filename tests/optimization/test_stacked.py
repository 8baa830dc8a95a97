"""A stack trains each of its members as that member alone is trained."""

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from greenlet import greenlet
from torch import Tensor, nn
from torch.optim import SGD

from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.data.base import Batch
from frame.data.memory import InMemory
from frame.models.base import Model
from frame.optimization.base import Optimization
from frame.optimization.batch import BatchOptimization
from frame.optimization.losses import Diverged
from frame.optimization.stacked import Stack, Stacked, answer_all, difference
from tests.models.test_every_model import FIRST, composed, rows
from tests.optimization.fitting import fit

SOME = ("digits_VAE", "digits_GAN", "digits_BYOL")


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Trainers that take turns restore each other's signal handlers; the members of a real stack share theirs."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def take_turns(members: Sequence[Stacked], works: Sequence[Callable[[], object]]) -> None:
    """Runs the works of members to their ends."""
    greenlets = [greenlet(work) for work in works]
    while not all(one.dead for one in greenlets):
        for one in greenlets:
            if not one.dead:
                one.switch()
        answer_all(members)


def together(optimizations: Sequence[Optimization], works: Sequence[Callable[[], object]]) -> None:
    stack = Stack([optimization.model for optimization in optimizations])
    for optimization, member in zip(optimizations, stack.members, strict=True):
        optimization.execution = member
    take_turns(stack.members, works)


def assert_alike(mine: nn.Module, theirs: nn.Module, rtol: float, atol: float) -> None:
    for (name, one), other in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.allclose(one, other, rtol=rtol, atol=atol), name


def descending(config: Any, seed: int) -> Optimization:
    """The experiment's procedure with SGD: Adam turns the rounding of gradients that are 0 into whole steps.

    Gradients are clipped, because losses that are sums diverge with this rate, and then differ by more than rounding.
    """
    torch.manual_seed(seed)
    model = instantiate(resolved(config.model))
    optimization: Any = instantiate(resolved(config.optimization), model=model)
    plain = partial(SGD, lr=1e-3)
    for name in ("_optimizer", "_adversary_optimizer"):
        if hasattr(optimization, name):
            setattr(optimization, name, plain)
    if hasattr(optimization, "_optimizers"):
        optimization._optimizers = dict.fromkeys(optimization._optimizers, plain)
    optimization.noise_seed = seed
    optimization.clip = optimization.clip or 1.0
    found: Optimization = optimization
    return found


def equals_alone(experiment: str, n_steps: int, tmp_path: Path) -> None:
    config = composed(experiment)
    config.params.batch_size = 16
    source = rows(config, 56)  # the last batch of an epoch is shorter
    if not descending(config, 0).model.vectorisable:
        pytest.skip("cannot be stacked")
    alone = [descending(config, seed) for seed in range(3)]
    for optimization in alone:
        fit(optimization, source, n_steps, tmp_path)
    stacked = [descending(config, seed) for seed in range(3)]
    together(stacked, [partial(fit, optimization, source, n_steps, tmp_path) for optimization in stacked])
    for one, other in zip(stacked, alone, strict=True):
        assert one.counters["iterations"] == other.counters["iterations"] == n_steps
        assert_alike(one.model, other.model, rtol=1e-3, atol=1e-4)
        assert {*one.losses()} == {*other.losses()}


@pytest.mark.parametrize("experiment", SOME)
def test_a_stack_equals_its_members_alone(experiment: str, tmp_path: Path) -> None:
    equals_alone(experiment, 5, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", sorted(FIRST.values()))
def test_every_model_of_a_stack_equals_itself_alone_after_100_steps(experiment: str, tmp_path: Path) -> None:
    equals_alone(experiment, 100, tmp_path)


class Noisy(Model):
    """Draws noise, drops values and keeps a mean in a buffer."""

    def __init__(self, width: int = 4, wrong: bool = False) -> None:
        super().__init__()
        self.wrong = wrong
        self.linear = nn.Linear(3, width)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("mean", torch.zeros(()))
        self.mean: Tensor

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        h = self.drop(self.linear(batch["x"]))
        h = h + torch.randn_like(h) * torch.rand(())
        if self.wrong:
            h = h * float(h.detach().sum())
        self.mean.mul_(0.9).add_(0.1 * h.detach().mean())
        return {"loss": h.square().mean(), "mean": h.mean()}


def noisy(seed: int, lr: float = 0.1, **options: Any) -> BatchOptimization:
    torch.manual_seed(seed)
    return BatchOptimization(Noisy(), partial(SGD, lr=lr), 8, noise_seed=seed, **options)


def pictures(n: int = 20) -> InMemory:
    return InMemory(torch.randn(n, 3, generator=torch.Generator().manual_seed(0)), torch.arange(n))


def trained(optimizations: Sequence[Optimization], tmp_path: Path, lengths: Sequence[int] = ()) -> list[Optimization]:
    """Trains them together; member i takes lengths[i] iterations, or 7."""
    steps = [*lengths] or [7] * len(optimizations)
    works = [partial(fit, one, pictures(), n, tmp_path) for one, n in zip(optimizations, steps, strict=True)]
    together(optimizations, works)
    return [*optimizations]


def same(one: Optimization, other: Optimization) -> bool:
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"clip": 0.01}, {"average": 0.5}], ids=str)
def test_noise_dropout_and_buffers_are_those_of_a_member_alone(options: dict[str, Any], tmp_path: Path) -> None:
    alone = [noisy(seed, **options) for seed in range(3)]
    for optimization in alone:
        fit(optimization, pictures(), 7, tmp_path)
    stacked = trained([noisy(seed, **options) for seed in range(3)], tmp_path)
    for one, other in zip(stacked, alone, strict=True):
        assert_alike(one.model, other.model, rtol=1e-5, atol=1e-6)
        assert_alike(one.evaluated, other.evaluated, rtol=1e-5, atol=1e-6)
        assert one.model.mean != 0


def test_learning_rates_and_frozen_parameters_are_the_members_own(tmp_path: Path) -> None:
    still: dict[str, Any] = {"rules": {"still": {"match": "linear.bias", "freeze": True}}}
    made: list[Callable[[], BatchOptimization]] = [
        lambda: noisy(0, lr=0.1),
        lambda: noisy(1, lr=0.01),
        lambda: noisy(2, **still),
    ]
    alone = [make() for make in made]
    for optimization in alone:
        fit(optimization, pictures(), 7, tmp_path)
    for one, other in zip(trained([make() for make in made], tmp_path), alone, strict=True):
        assert_alike(one.model, other.model, rtol=1e-5, atol=1e-6)


def test_neither_the_others_nor_their_ends_change_a_member(tmp_path: Path) -> None:
    """The width is the same; a product of another width may round otherwise."""
    first = trained([noisy(0), noisy(1), noisy(2)], tmp_path)
    second = trained([noisy(0), noisy(8, lr=0.5), noisy(9)], tmp_path, [7, 2, 5])
    assert same(first[0], second[0]) and not same(first[1], second[1])


def test_the_noise_of_a_member_does_not_depend_on_the_width(tmp_path: Path) -> None:
    two = trained([noisy(seed) for seed in range(2)], tmp_path)
    four = trained([noisy(seed) for seed in range(4)], tmp_path)
    for one, other in zip(two, four, strict=False):
        assert_alike(one.model, other.model, rtol=1e-5, atol=1e-6)


def test_a_member_that_diverges_stops_alone(tmp_path: Path) -> None:
    members = [noisy(0), noisy(1, lr=1e30), noisy(2)]
    alone = noisy(0)
    fit(alone, pictures(), 7, tmp_path)
    stopped: list[int] = []

    def train(place: int) -> None:
        try:
            fit(members[place], pictures(), 7, tmp_path)
            members[place].check_finite()
        except Diverged:
            stopped.append(place)

    together(members, [partial(train, place) for place in range(3)])
    assert stopped == [1]
    assert_alike(members[0].model, alone.model, rtol=1e-5, atol=1e-6)


def test_a_branch_on_a_value_is_the_error_of_the_step(tmp_path: Path) -> None:
    def made() -> BatchOptimization:
        return BatchOptimization(Noisy(wrong=True), partial(SGD, lr=0.1), 8)

    optimizations = [made(), made()]
    errors = []

    def train(optimization: Optimization) -> None:
        try:
            fit(optimization, pictures(), 2, tmp_path)
        except RuntimeError as error:
            errors.append(str(error))

    together(optimizations, [partial(train, one) for one in optimizations])
    assert len(errors) == 2 and "vmap" in errors[0]


def test_models_that_are_not_alike_are_told_apart() -> None:
    assert difference(Noisy(), Noisy()) == ""
    assert difference(Noisy(), Noisy(wrong=True)) == "wrong"
    assert difference(Noisy(), Noisy(width=5)) in ("linear.out_features", "linear.weight", "linear.bias")
    other = Noisy()
    other.drop.p = 0.1
    assert difference(Noisy(), other) == "drop.p"
    assert difference(Noisy(), nn.Linear(1, 1)) != ""
