"""Stretches: the same iterations as batch by batch, ended exactly where a callback is due."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from frame.callbacks.base import wanting_each_batch
from frame.optimization.adversarial import AdversarialOptimization
from frame.optimization.base import Optimization
from frame.optimization.batch import BatchOptimization
from tests.optimization.fitting import fit
from tests.optimization.test_base import Line, rows, sgd
from tests.optimization.test_every_procedure import adam, pictures
from tests.own.toys import Duel


class Every(Callback):
    """Notes when it is called, and when it had been due."""

    def __init__(self, amount: float, counter: str = "iterations") -> None:
        self.amount, self.counter = amount, counter
        self.called: list[float] = []

    def is_due(self, optimization: Optimization) -> bool:
        return optimization.counters[self.counter] % self.amount == 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, Optimization)
        self.called.append(pl_module.counters["iterations"])


def made(procedure: str, **options: Any) -> Optimization:
    torch.manual_seed(0)
    if procedure == "batch":
        return BatchOptimization(Duel(4), adam, 24, **options)
    return AdversarialOptimization(Duel(4), adam, adam, 24, n_adversary_steps=2, **options)


@pytest.mark.parametrize(
    "options", [{}, {"accumulate": 2}, {"accumulate": 2, "clip": 0.1, "average": 0.9}, {"average": 0.5}]
)
def test_weights_and_losses_are_those_of_single_batches(options: dict[str, Any], tmp_path: Path) -> None:
    whole, single = made("adversarial", **options), made("adversarial", **options)
    for optimization, stretches in ((whole, True), (single, False)):
        fit(optimization, pictures(), 11, tmp_path, stretches=stretches)  # 64 rows: 3 batches an epoch
    ours, theirs = whole.training_state(), single.training_state()
    for part in ("model", "average"):
        for name in ours[part] or {}:
            assert torch.equal(ours[part][name], theirs[part][name]), name
    assert ours["recent"] == theirs["recent"] and len(ours["recent"]) == 11
    for one in (ours, theirs):
        one["counters"].pop("seconds")
    assert ours["counters"] == theirs["counters"]


@pytest.mark.parametrize(
    ("counter", "amount", "ends"),
    [
        ("iterations", 5, {5, 10}),
        ("iterations", 100, set()),
        ("samples", 256, {12}),  # 24, 48, 64 in an epoch
        ("updates", 2, {1, 4, 5, 8, 9, 12, 13}),  # an update each 2 iterations; 0 and 2 count, too
    ],
)
def test_a_stretch_ends_exactly_where_something_is_due(
    counter: str, amount: float, ends: set[int], tmp_path: Path
) -> None:
    optimization, each = made("adversarial", accumulate=2 if counter == "updates" else 1), Every(amount, counter)
    fit(optimization, pictures(), 14, tmp_path, callbacks=[each])
    epochs_and_limit = {3, 6, 9, 12, 14}
    assert set(each.called) == ends | epochs_and_limit


def test_lightning_is_asked_once_for_a_stretch(tmp_path: Path) -> None:
    optimization, each = made("adversarial"), Every(1000)
    fit(optimization, pictures(), 11, tmp_path, callbacks=[each])
    assert each.called == [3, 6, 9, 11]
    single = Every(1000)
    fit(made("adversarial"), pictures(), 11, tmp_path, callbacks=[single], stretches=False)
    assert single.called == list(range(1, 12))


def test_a_signal_ends_a_stretch_after_the_step_in_hand(tmp_path: Path) -> None:
    optimization = made("adversarial")
    stopped: list[float] = []

    class Signalled(Callback):
        def is_due(self, optimization: Optimization) -> bool:
            if optimization.counters["iterations"] == 4:
                optimization.noticed_signal = 15
            return optimization.stop_signal != 0

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
            assert isinstance(pl_module, Optimization)
            if pl_module.stop_signal:
                stopped.append(pl_module.counters["iterations"])
                trainer.should_stop = True

    fit(optimization, pictures(), 11, tmp_path, callbacks=[Signalled()])
    assert stopped == [5]


def test_who_wants_each_batch_is_found() -> None:
    class Start(Callback):
        def on_train_batch_start(self, *args: Any) -> None: ...

    class End(Callback):
        def on_train_batch_end(self, *args: Any) -> None: ...

    class Backward(Every):
        def on_after_backward(self, *args: Any) -> None: ...

    class Own(BatchOptimization):
        def on_train_batch_end(self, *args: Any) -> None: ...

    class Step(BatchOptimization):
        def training_step(self, batch: Any, batch_idx: int) -> None: ...

    class Other(Callback):
        def on_train_epoch_end(self, *args: Any) -> None: ...

    plain = BatchOptimization(Line(), sgd, batch_size=4)
    assert wanting_each_batch(plain, [Every(1), Other()]) == []
    assert wanting_each_batch(plain, [Start(), End(), Backward(1), Every(1)]) == ["Start", "Backward", "End"]
    assert wanting_each_batch(Own(Line(), sgd, batch_size=4), []) == ["Own"]
    assert wanting_each_batch(Step(Line(), sgd, batch_size=4), []) == ["Step"]


def test_hooks_around_backward_are_called_if_a_callback_has_them(tmp_path: Path) -> None:
    class Gradients(Callback):
        def __init__(self) -> None:
            self.calls: list[str] = []

        def on_before_backward(self, *args: Any) -> None:
            self.calls.append("before")

        def on_after_backward(self, *args: Any) -> None:
            self.calls.append("after")

    gradients, optimization = Gradients(), BatchOptimization(Line(), sgd, batch_size=4)
    fit(optimization, rows(8), 2, tmp_path, callbacks=[gradients], stretches=False)
    assert gradients.calls == ["before", "after"] * 2


def test_under_autocast_weights_are_cast_anew_after_each_step(tmp_path: Path) -> None:
    # autocast may keep its casts until its context ends, which is a stretch; Lightning tells it not to
    found = []
    for stretches in (True, False):
        optimization = BatchOptimization(Line(), sgd, batch_size=4)
        fit(optimization, rows(), 5, tmp_path, stretches=stretches, precision="bf16-mixed")
        found.append(optimization.model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
