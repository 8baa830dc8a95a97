"""The one stepping path: accumulation, clipping, averages, schedules, players, noise."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.common.durations import Duration, RunLength
from frame.common.errors import UserError
from frame.common.schedules import Cosine, Linear
from frame.composition.compose import compose
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.data.base import Batch
from frame.data.loader import Loader
from frame.data.memory import InMemory
from frame.models.base import Model
from frame.optimization.base import Diverged
from frame.optimization.batch import BatchOptimization
from frame.optimization.noise import seed_noise
from tests.optimization.fitting import fit


class Line(Model):
    """y = w x by least squares, with a known gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))
        self.updates: list[int] = []

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        residual = batch["x"] @ self.w - batch["y"]
        return {"loss": residual.square().mean(), "residual": residual.mean()}

    def after_update(self, iteration: int) -> None:
        self.updates.append(iteration)


def rows(n: int = 24) -> InMemory:
    generator = torch.Generator().manual_seed(0)
    return InMemory(torch.randn(n, 3, generator=generator), torch.arange(n))


def weight(model: nn.Module) -> Tensor:
    w = model.w
    assert isinstance(w, Tensor)
    return w.detach()


sgd = partial(torch.optim.SGD, lr=0.01)


def test_a_step_is_the_gradient_by_hand(tmp_path: Path) -> None:
    source = rows(8)
    optimization = BatchOptimization(Line(), sgd, batch_size=8)
    fit(optimization, source, 1, tmp_path)
    x, y = source.x, source.y
    assert y is not None
    # w <- 0 - lr * d/dw mean (x w - y)^2 = lr * 2/B x^T y
    torch.testing.assert_close(weight(optimization.model), 0.01 * 2 / 8 * x.T @ y.float())


def test_accumulated_batches_step_like_one(tmp_path: Path) -> None:
    small = BatchOptimization(Line(), sgd, batch_size=4, accumulate=3)
    large = BatchOptimization(Line(), sgd, batch_size=12)
    fit(small, rows(), 12, tmp_path)
    fit(large, rows(), 4, tmp_path)
    torch.testing.assert_close(weight(small.model), weight(large.model))
    assert small.counters["iterations"] == 12 and small.counters["updates"] == 4
    assert small.model.updates == [3, 6, 9, 12]


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "accumulate", "iterations"),
    [
        (24, 4, 3, 1),  # the run ends inside an accumulation
        (24, 4, 3, 2),
        (10, 4, 3, 3),  # 4, 4 and 2 rows
        (6, 4, 4, 2),  # both: 4 and 2 of the 16 rows of four batches
        (3, 4, 2, 1),  # fewer rows than a batch has
    ],
)
def test_an_accumulation_steps_like_one_batch_of_its_rows(
    n_rows: int, batch_size: int, accumulate: int, iterations: int, tmp_path: Path
) -> None:
    small = BatchOptimization(Line(), sgd, batch_size, accumulate=accumulate)
    fit(small, rows(n_rows), iterations, tmp_path)
    # in the loader's order, so that these are the same rows
    loader = Loader(rows(n_rows), batch_size, 0)
    seen = torch.cat([batch["index"] for _, batch in zip(range(iterations), loader, strict=False)])
    source = rows(n_rows)
    assert source.y is not None
    large = BatchOptimization(Line(), sgd, batch_size=len(seen))
    fit(large, InMemory(source.x[seen], source.y[seen]), 1, tmp_path)
    torch.testing.assert_close(weight(small.model), weight(large.model))
    assert small.counters["updates"] == 1 and small.waiting == 0


def test_a_clip_is_that_of_the_whole_gradient(tmp_path: Path) -> None:
    small = BatchOptimization(Line(), partial(torch.optim.SGD, lr=1.0), 4, accumulate=3, clip=0.5)
    fit(small, rows(24), 1, tmp_path)
    assert weight(small.model).norm().item() == pytest.approx(0.5)


def test_the_last_accumulation_is_stepped(tmp_path: Path) -> None:
    optimization = BatchOptimization(Line(), sgd, batch_size=4, accumulate=3)
    fit(optimization, rows(), 4, tmp_path)
    assert optimization.counters["updates"] == 2 and optimization.accumulated == 0
    assert all(p.grad is None for p in optimization.model.parameters())


def test_the_gradient_is_clipped_by_its_norm(tmp_path: Path) -> None:
    optimization = BatchOptimization(Line(), partial(torch.optim.SGD, lr=1.0), batch_size=24, clip=0.5)
    fit(optimization, rows(), 1, tmp_path)
    assert weight(optimization.model).norm().item() == pytest.approx(0.5, rel=1e-4)


def test_the_average_is_exponential(tmp_path: Path) -> None:
    optimization = BatchOptimization(Line(), sgd, batch_size=8, average=0.9)
    seen: list[Tensor] = []
    optimization.model.after_update = lambda iteration: seen.append(weight(optimization.model).clone())  # type: ignore[method-assign]
    fit(optimization, rows(), 5, tmp_path)
    # the first update copies, then a <- 0.9 a + 0.1 w
    average = seen[0]
    for w in seen[1:]:
        average = 0.9 * average + 0.1 * w
    torch.testing.assert_close(weight(optimization.evaluated), average)
    assert not any(p.requires_grad for p in optimization.evaluated.parameters())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_rate_of_a_step_is_that_of_its_first_batch(accumulate: int, tmp_path: Path) -> None:
    """So accumulated batches have the learning rate of one large batch."""
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    watched: Any = Watched
    rate = Linear(1.0, 0.0, "50%", warmup=f"{4 * accumulate} iterations")
    optimization = BatchOptimization(Line(), partial(watched, lr=rate), 4, accumulate=accumulate)
    fit(optimization, rows(), 12 * accumulate, tmp_path)
    assert rates == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0])
    assert optimization.options() == {"lr": 0.0}


def in_processes(optimization: BatchOptimization, world: int) -> BatchOptimization:
    """With its optimizers, in a run of that many processes."""
    loader = Loader(rows(), optimization.batch_size, 0, world=world)
    optimization.bind([Duration(2, "iterations")], loader)
    optimization.configure_optimizers()
    optimization.advance()
    return optimization


@pytest.mark.parametrize(("batch_size", "accumulate", "world"), [(4, 1, 1), (4, 3, 1), (4, 3, 2), (2, 1, 1)])
def test_the_rate_is_that_of_the_rows_of_a_step(batch_size: int, accumulate: int, world: int, tmp_path: Path) -> None:
    """All rates: a number's, a schedule's and a rule's."""
    rules = {"own": {"match": "w", "lr": 0.2}} if world == 2 else None
    factor = batch_size * accumulate * world / 4
    rates: list[Any] = [0.1, Linear(0.1, 0.0)]
    for lr in rates:
        optimizer = partial(torch.optim.SGD, lr=lr)
        made = BatchOptimization(Line(), optimizer, batch_size, accumulate, rules=rules, lr_batch=4)
        found = in_processes(made, world).options()
        assert found == pytest.approx({"lr": (0.2 if rules else 0.1) * factor})
        if isinstance(lr, float):
            assert made.groups()[0]["lr"] == pytest.approx(found["lr"])
        elif factor != 1 and not rules:
            assert str(made.groups()[0]["lr"]).endswith(f" × {factor:g}")
        plain = BatchOptimization(Line(), optimizer, batch_size, accumulate)
        assert in_processes(plain, world).options() == pytest.approx({"lr": 0.1})


def test_twice_the_rows_take_twice_the_step(tmp_path: Path) -> None:
    small = BatchOptimization(Line(), sgd, batch_size=8, lr_batch=8)
    large = BatchOptimization(Line(), sgd, batch_size=4, accumulate=2, lr_batch=4)
    fit(small, rows(8), 1, tmp_path)
    fit(large, rows(8), 2, tmp_path)
    torch.testing.assert_close(weight(large.model), 2 * weight(small.model))


def test_a_run_that_goes_on_with_more_processes_has_their_rate() -> None:
    sgd_ = partial(torch.optim.SGD, lr=0.1)
    one = in_processes(BatchOptimization(Line(), sgd_, 4, lr_batch=4), 1)
    one.players["model"].optimizer.param_groups[0]["lr"] *= 0.5  # as a plateau does
    two = in_processes(BatchOptimization(Line(), sgd_, 4, lr_batch=4), 2)
    two.players["model"].load_state_dict(one.players["model"].state_dict())
    assert two.options() == pytest.approx({"lr": 0.1})


def test_an_optimizer_without_a_rate_has_none_to_scale() -> None:
    class Rprop(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})

    with pytest.raises(UserError, match="optimization.lr_batch: Rprop has no lr"):
        BatchOptimization(Line(), Rprop, 8, lr_batch=4).configure_optimizers()


def test_every_option_may_follow_a_schedule(tmp_path: Path) -> None:
    adamw: Any = torch.optim.AdamW
    optimizer = partial(
        adamw,
        lr=1e-3,
        betas=[0.9, Cosine(0.9, 0.99, "4 iterations")],
        weight_decay=Linear(0.0, 0.4, "100%"),
    )
    optimization = BatchOptimization(Line(), optimizer, 4)
    fit(optimization, rows(), 8, tmp_path)
    # the eighth step, after seven others
    assert optimization.options() == pytest.approx({"lr": 1e-3, "betas.1": 0.99, "weight_decay": 0.35})


def test_a_rate_that_turns_negative_is_refused() -> None:
    for wrong in (
        {"lr": Linear(1.0, -1.0, "4 iterations")},
        {"lr": 1.0, "weight_decay": Linear(0.0, -1.0, "4 epochs")},
    ):
        with pytest.raises(UserError, match="-1"):
            BatchOptimization(Line(), partial(torch.optim.SGD, **wrong), 4).grouped_players()


def test_noise_depends_only_on_seed_iteration_and_rank() -> None:
    def draw(*key: int) -> float:
        seed_noise(*key)
        return torch.rand(()).item()

    values = {draw(seed, iteration, rank) for seed in range(8) for iteration in range(50) for rank in range(2)}
    assert len(values) == 800
    assert draw(3, 5, 1) == draw(3, 5, 1)


def test_a_broken_loss_is_named_with_its_iteration() -> None:
    optimization = BatchOptimization(Line(), sgd, batch_size=4)
    optimization.counters["iterations"] = 10
    nan, one = torch.tensor(float("nan")), torch.tensor(1.0)
    for losses in ({"loss": one, "rate": one}, {"loss": nan, "rate": nan}, {"loss": nan, "rate": nan}):
        optimization.recent.add(losses)
    with pytest.raises(Diverged, match="rate is nan at iteration 9"):
        optimization.losses()


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"accumulate": 0},
        {"clip": 0.0},
        {"clip": -1.0},
        {"average": 1.0},
        {"average": -0.1},
        {"lr_batch": 0},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=f"optimization.{name}="):
        BatchOptimization(Line(), sgd, **{"batch_size": 4, **wrong})


def test_losses_are_means_since_the_last_time() -> None:
    optimization = BatchOptimization(Line(), sgd, batch_size=4)
    for value in (1.0, 2.0, 6.0):
        optimization.recent.add({"loss": torch.tensor(value)})
    assert optimization.losses() == {"loss": 3.0} and optimization.losses() == {}


def test_bigans_rate_falls_from_its_101st_epoch_on_to_a_hundredth() -> None:
    rate = instantiate(resolved(compose(["experiment=MNIST_BiGAN"]).optimization.optimizer.lr))
    rate.bind(RunLength((Duration(200, "epochs"),), {"iterations": 1, "epochs": 391}, ("iterations", "epochs")), "lr")
    before, first, last = (rate.now({"iterations": epoch * 391 + 7}) for epoch in (99, 100, 199))
    assert before == 2e-4 and first == pytest.approx(2e-4 * 0.01**0.01) and last == pytest.approx(2e-6)


def test_iwaes_stages_are_the_authors() -> None:
    config = compose(["experiment=MNIST_IWAE_published"])
    rate = instantiate(resolved(config.optimization.optimizer.lr))
    rate.bind(RunLength((Duration(3280, "epochs"),), {"iterations": 1, "epochs": 2980}, ("iterations", "epochs")), "lr")
    assert rate.ends == [2980 * sum(3**i for i in range(stage)) for stage in range(1, 8)]
    assert (
        rate.now({"iterations": 2979}) == config.params.lr and rate.now({"iterations": 2980}) == config.params.lr * 0.72
    )


def test_schedules_and_freezes_that_are_not_over_are_named(tmp_path: Path) -> None:
    def made(rules: Any = None) -> BatchOptimization:
        optimization = BatchOptimization(Line(), partial(sgd, lr=Cosine(0.1, 0.0), momentum=0.5), 4, rules=rules)
        optimization.model.beta = Linear(0.0, 1.0, over="50%", after="25%")
        return optimization

    half = made()
    fit(half, rows(), 7, tmp_path, length=10)
    assert half.unfinished() == ["model.beta", "optimization.lr"]  # beta ends after 7.5
    later = made()
    fit(later, rows(), 8, tmp_path, length=10)
    assert later.unfinished() == ["optimization.lr"]
    whole = made()
    fit(whole, rows(), 10, tmp_path)
    assert whole.unfinished() == []


def test_a_schedule_in_iterations_outlasts_a_run_that_ends_by_the_clock(tmp_path: Path) -> None:
    model = Line()
    model.beta = Linear(0.0, 1.0, over="100 iterations", after="50 iterations")
    optimization = BatchOptimization(model, sgd, 4)
    optimization.bind([Duration(60.0, "seconds")], Loader(rows(), 4, 0))  # not refused: nobody knows its iterations
    optimization.counters |= {"iterations": 149, "seconds": 60.0}
    assert optimization.unfinished() == ["model.beta"]
    optimization.counters["iterations"] = 150
    assert optimization.unfinished() == []
