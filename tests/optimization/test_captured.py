"""Captured steps, with a tape in the place of a CUDA graph: the numbers of eager steps, and what cannot be captured."""

import random
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from frame.architectures.base import DiagonalNormal, MLPDecoder, MLPEncoder
from frame.commands.main import main
from frame.common.errors import UserError
from frame.common.schedules import Cosine, Linear
from frame.data.base import Batch
from frame.data.memory import InMemory
from frame.models.Joint import Joint
from frame.models.VAE import VAE
from frame.optimization.adversarial import AdversarialOptimization
from frame.optimization.average import Average
from frame.optimization.base import Optimization
from frame.optimization.batch import BatchOptimization
from frame.optimization.captured import CudaGraph
from frame.optimization.joint import JointOptimization
from frame.optimization.lars import LARS
from tests.optimization.fitting import fit
from tests.optimization.test_every_procedure import Flat
from tests.own.tape import OnTape
from tests.own.toys import Duel
from tests.processes import OWN
from tests.slow import slow_but

adam, fused = partial(Adam, lr=0.01), partial(Adam, lr=0.01, fused=True)
Made = Callable[[], Optimization]


def pictures(binarize: str = "dynamic") -> InMemory:
    """56 rows: batches of 16 leave one of 8."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (56, 1, 2, 2), dtype=torch.uint8, generator=generator)
    return InMemory(x, torch.arange(56) % 10, binarize=binarize)


def vae(beta: Any = 0.5) -> VAE:
    torch.manual_seed(0)
    return VAE(MLPEncoder((1, 2, 2), 2, [8]), MLPDecoder((1, 2, 2), 2, [8]), DiagonalNormal(2), beta=beta)


def duel(**options: Any) -> Optimization:
    torch.manual_seed(0)
    return AdversarialOptimization(Duel(4), fused, fused, 16, **options)


def joint(summed: bool) -> Optimization:
    torch.manual_seed(0)
    optimizers = {"b": partial(LARS, lr=0.1)}
    return JointOptimization(Joint({"a": vae(), "b": Flat(1.0)}), fused, 16, optimizers=optimizers, summed=summed)


def scheduled(optimizer: Any, **options: Any) -> Optimization:
    """Learning rate, coefficient and average follow the run; the encoder thaws after 5 iterations."""
    rules = {
        "still": {"match": "encoder.*", "freeze": "5 iterations", "lr_scale": 0.5},
        "bias": {"match": "*.bias", "weight_decay": 0.0},
    }
    optimization = partial(optimizer, lr=Cosine(0.01, 0.0, warmup="4 iterations"), weight_decay=0.1, **options)
    return BatchOptimization(
        vae(Linear(0.1, 1.0, "8 iterations")), optimization, 16, average=0.9, rules=rules, clip=1.0
    )


PROCEDURES: dict[str, Made] = {
    "plain": lambda: BatchOptimization(vae(), fused, 16),
    "average": lambda: BatchOptimization(vae(), fused, 16, average=0.9, clip=0.1),
    "accumulated": lambda: BatchOptimization(vae(), fused, 16, accumulate=3, average=0.9, clip=0.1),
    "scheduled AdamW": lambda: scheduled(AdamW, fused=True),
    "scheduled SGD": lambda: scheduled(SGD, momentum=0.9, nesterov=True),
    "scheduled LARS": lambda: scheduled(LARS),
    "duel": lambda: duel(n_adversary_steps=3, average=0.9),
    "accumulated duel": lambda: duel(n_adversary_steps=2, accumulate=2, adversary_clip=0.1),
    "joint": lambda: joint(summed=False),
    "summed": lambda: joint(summed=True),
}


def captured(made: Made) -> tuple[Optimization, OnTape]:
    optimization, execution = made(), OnTape()
    optimization.execution = execution
    return optimization, execution


def tensors(optimization: Optimization) -> dict[str, Tensor]:
    """The weights, buffers, average and optimizer states."""
    state = optimization.training_state()
    found: dict[str, Tensor] = {}
    for part in ("model", "average"):
        found |= {f"{part}.{name}": value for name, value in (state[part] or {}).items()}
    for name, player in state["players"].items():
        for place, values in player["optimizer"]["state"].items():
            found |= {f"{name}.{place}.{key}": value for key, value in values.items() if isinstance(value, Tensor)}
    return found


def assert_equal(one: Optimization, other: Optimization, rtol: float = 0.0, atol: float = 0.0) -> None:
    mine, theirs = tensors(one), tensors(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize("name", slow_but(("accumulated duel", "scheduled AdamW"), PROCEDURES))
def test_replayed_steps_are_eager_ones_and_resume_in_the_same_bits(name: str, tmp_path: Path) -> None:
    eager = PROCEDURES[name]()
    fit(eager, pictures(), 20, tmp_path)
    whole, execution = captured(PROCEDURES[name])
    fit(whole, pictures(), 20, tmp_path)
    assert sum(tape.replays for tape in execution.tapes) >= 10
    scheduled = "scheduled" in name  # their learning rates are float32 then
    assert_equal(whole, eager, *((1e-4, 1e-6) if scheduled else ()))
    assert [*whole.recent] == [pytest.approx(losses, rel=1e-4 if scheduled else 0) for losses in eager.recent]
    assert whole.counters == {**eager.counters, "seconds": whole.counters["seconds"]}
    half, _ = captured(PROCEDURES[name])
    fit(half, pictures(), 6, tmp_path, length=20)
    rest, _ = captured(PROCEDURES[name])
    fit(rest, pictures(), 20, tmp_path, state=half.training_state())
    assert_equal(rest, whole)


def test_each_phase_has_a_graph_and_one_graph_serves_many_iterations(tmp_path: Path) -> None:
    optimization, execution = captured(PROCEDURES["duel"])
    fit(optimization, pictures(), 24, tmp_path)
    assert len(execution.tapes) == 4  # 16 or 8 rows; the adversary alone, or both
    assert sum(tape.replays for tape in execution.tapes) == 24 - 2  # each optimizer made its state in an eager step
    optimization, execution = captured(PROCEDURES["scheduled AdamW"])
    fit(optimization, pictures(), 24, tmp_path)
    assert len(execution.tapes) == 4  # 16 or 8 rows; the encoder frozen or not


def test_a_changed_learning_rate_is_recorded_anew(tmp_path: Path) -> None:
    class Halved(Callback):
        def is_due(self, optimization: Optimization) -> bool:
            if optimization.counters["iterations"] == 8:
                optimization.players["model"].optimizer.param_groups[0]["lr"] /= 2
            return False

        def bind(self, context: Any) -> None: ...

    eager, (whole, execution) = PROCEDURES["plain"](), captured(PROCEDURES["plain"])
    for optimization in (eager, whole):
        fit(optimization, pictures(), 16, tmp_path, callbacks=[Halved()])
    assert_equal(whole, eager)
    assert len(execution.tapes) == 4


@pytest.mark.parametrize("kind", [Adam, AdamW, SGD, LARS])
def test_a_schedule_of_the_weight_decay_is_a_tensor(kind: Any, tmp_path: Path) -> None:
    def made() -> Optimization:
        falls = Linear(0.2, 0.0, "10 iterations")
        return BatchOptimization(vae(), partial(kind, lr=0.01, weight_decay=falls), 16)

    eager, (whole, execution) = made(), captured(made)
    fit(eager, pictures(), 16, tmp_path)
    fit(whole, pictures(), 16, tmp_path)
    assert len(execution.tapes) == 2
    assert_equal(whole, eager, rtol=1e-4, atol=1e-6)
    assert whole.options() == pytest.approx(eager.options())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RMSprop", "NAdam", "RAdam", "Adamax", "Adadelta", "Rprop", "ASGD"])
def test_other_optimizers_of_torch_keep_their_state_on_the_device(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch lets them do so on a GPU only."""
    optimizer = getattr(torch.optim, kind)
    where = sys.modules[optimizer.__module__]
    monkeypatch.setattr(where, "_get_capturable_supported_devices", lambda supports_xla=True: ["cpu"])

    def made() -> Optimization:
        return BatchOptimization(vae(), partial(optimizer, lr=Linear(0.01, 0.001, "10 iterations")), 16)

    eager, (whole, execution) = made(), captured(made)
    fit(eager, pictures(), 16, tmp_path)
    fit(whole, pictures(), 16, tmp_path)
    assert len(execution.tapes) == 2
    assert_equal(whole, eager, rtol=1e-3, atol=1e-5)  # they compute powers on the device then


def test_noise_is_drawn_in_the_graph(tmp_path: Path) -> None:
    """Both that of the model and that of the data change with the iteration and agree with eager execution."""
    whole, execution = captured(PROCEDURES["plain"])
    fit(whole, pictures(), 8, tmp_path)
    names = [func._schema.name for func, *_ in execution.tapes[0].operations]
    assert {"aten::index_select", "aten::random_"} <= {*names} and any("randn" in name for name in names)
    assert len({losses["loss"] for losses in whole.recent}) == 8


def test_callbacks_that_see_batches_still_do(tmp_path: Path) -> None:
    seen = []

    class Sees(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
            seen.append(tuple(batch["x"].shape))

    eager, (whole, execution) = PROCEDURES["plain"](), captured(PROCEDURES["plain"])
    for optimization in (eager, whole):
        fit(optimization, pictures(), 6, tmp_path, callbacks=[Sees()], stretches=False)
    assert seen == ([(16, 1, 2, 2)] * 3 + [(8, 1, 2, 2)] + [(16, 1, 2, 2)] * 2) * 2
    assert execution.tapes and execution.tapes[0].replays
    assert_equal(whole, eager)


# What cannot be captured


class Item(VAE):
    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        losses = super().compute_loss(batch)
        return {name: value * (1.0 if value.item() > 0 else 2.0) for name, value in losses.items()}


class Chosen(VAE):
    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        return super().compute_loss({**batch, "x": x[x.flatten(1).sum(1) >= 0]})


class FromHost(VAE):
    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        noise = torch.rand(len(batch["x"]), 1, 1, 1).to(batch["x"].device)
        return super().compute_loss({**batch, "x": batch["x"] * noise})


class FromPython(VAE):
    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return super().compute_loss({**batch, "x": batch["x"] * random.random()})


class OneNumber(VAE):
    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return super().compute_loss({**batch, "x": batch["x"] * torch.rand(())})


class Counts(VAE):
    calls = 0

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        self.calls += 1
        return super().compute_loss({**batch, "x": batch["x"] / self.calls})


class Now(VAE):
    def after_update(self, iteration: int) -> None:
        if iteration % 2 == 0:
            self.decoder.requires_grad_(True)


class Replaced(VAE):
    seen: Tensor

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("seen", torch.zeros(()))

    def after_update(self, iteration: int) -> None:
        self.seen = self.seen + 1


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Item, "it reads a value of a tensor"),
        (Chosen, "it reads a value of a tensor, or makes a shape from one"),
        (FromHost, "it copies a tensor from the CPU"),
        (FromPython, "it draws noise on the CPU"),
        (OneNumber, "it draws noise on the CPU"),
        (Counts, "model.calls changes on the host: make it a buffer"),
        (Now, "after_update depends on the number of the iteration"),
        (Replaced, "model.seen is replaced: write into it"),
    ],
)
def test_a_model_that_cannot_be_captured_runs_eagerly_and_one_line_says_why(
    kind: Any, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made() -> Optimization:
        torch.manual_seed(0)
        networks = MLPEncoder((1, 2, 2), 2, [8]), MLPDecoder((1, 2, 2), 2, [8]), DiagonalNormal(2)
        return BatchOptimization(kind(*networks, beta=0.5), fused, 16)

    eager, (whole, execution) = made(), captured(made)
    random.seed(0)
    fit(eager, pictures(), 6, tmp_path)
    capsys.readouterr()
    random.seed(0)
    fit(whole, pictures(), 6, tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if "execution=captured" in line]
    assert len(lines) == 1 and why in lines[0] and "eagerly" in lines[0], lines
    assert not execution.tapes
    assert_equal(whole, eager)


class Turns(BatchOptimization):
    """Descends twice the loss in every second update, and does not say so."""

    def step(self, batch: Batch) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.model(batch)
        self.descend("model", losses["loss"] * (1 + self.counters["updates"] % 2))
        return losses


class SaidTurns(Turns):
    def phase(self) -> float:
        return self.counters["updates"] % 2


def test_a_step_that_reads_counters_says_its_phase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eager = Turns(vae(), fused, 16)
    fit(eager, pictures(), 10, tmp_path)
    for kind, tapes in ((Turns, 0), (SaidTurns, 3)):
        whole, execution = captured(lambda kind=kind: kind(vae(), fused, 16))  # type: ignore[misc]
        fit(whole, pictures(), 10, tmp_path)
        assert_equal(whole, eager)
        assert len(execution.tapes) == tapes
    assert "its step reads counters['updates'], and its phase() does not say" in capsys.readouterr().err


rmsprop: Any = RMSprop


class Unknown(SGD):
    __module__ = "own"


@pytest.mark.parametrize(
    ("optimizer", "why"),
    [
        (partial(Adagrad, lr=0.01), "Adagrad reads values on the host"),
        (partial(Unknown, lr=0.01), "Unknown does not say that it can be captured"),
        (partial(rmsprop, lr=0.01, momentum=Linear(0.1, 0.9, "5 iterations")), "RMSprop takes no tensor as momentum"),
    ],
)
def test_an_optimizer_that_cannot_be_captured(
    optimizer: Any, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made() -> Optimization:
        return BatchOptimization(vae(), optimizer, 16)

    eager, (whole, execution) = made(), captured(made)
    fit(eager, pictures(), 6, tmp_path)
    fit(whole, pictures(), 6, tmp_path)
    assert why in capsys.readouterr().err and not execution.tapes
    assert_equal(whole, eager)


def test_augmentation_that_cannot_be_captured_runs_before_each_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Crops(InMemory):
        def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
            factor = float(torch.rand((), generator=generator))
            return {**super().transform(batch, generator), "x": batch["x"].float() * factor}

    source = Crops(pictures().x)
    eager, (whole, execution) = PROCEDURES["plain"](), captured(PROCEDURES["plain"])
    for optimization in (eager, whole):
        fit(optimization, source, 10, tmp_path)
    assert_equal(whole, eager)
    assert "augmentation runs eagerly: it reads a value of a tensor" in capsys.readouterr().err
    assert len(execution.tapes) == 2


def test_a_capture_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for torch's part: generators on the GPU are registered, and an error of CUDA is said."""
    registered: list[Any] = []
    graph = SimpleNamespace(register_generator_state=registered.append, replay=lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, capture_error_mode: nullcontext())
    there: Any = SimpleNamespace(device=torch.device("cuda"))
    made = CudaGraph([there, torch.default_generator])
    assert registered == [there]
    assert made.capture(lambda: {"loss": torch.zeros(())}).keys() == {"loss"}

    def fails() -> dict[str, Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    with pytest.raises(
        UserError, match=r"cannot capture a step \(operation not permitted when.*\): .*execution=eager$"
    ):
        made.capture(fails)


def test_several_processes_step_eagerly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Several(BatchOptimization):
        def on_train_start(self) -> None:
            self.world = 2
            super().on_train_start()

    whole, execution = captured(lambda: Several(vae(), fused, 16))
    fit(whole, pictures(), 6, tmp_path)
    assert "several processes train together" in capsys.readouterr().err and not execution.tapes


@pytest.mark.parametrize(
    ("word", "why"),
    [("execution=captured", "execution=captured needs a GPU"), ("execution=capturd", "did you mean 'captured'")],
)
def test_without_a_gpu_one_line_says_so(
    word: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config-dir", str(OWN / "config"), "experiment=tiny", word, "device.gpus=0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line and not list(tmp_path.iterdir())


# What it needed


def test_an_average_is_torch_s_and_reads_no_value(tmp_path: Path) -> None:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    own, theirs = Average(model, 0.9), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
            model(torch.randn(5, 3))
        own.follow(model)
        theirs.update_parameters(model)
        assert own.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in own.state_dict().items())
    other = Average(model, 0.9)
    other.load_state_dict(theirs.state_dict())
    assert not other.begins


def test_a_checkpoint_has_numbers_where_options_are_tensors(tmp_path: Path) -> None:
    whole, _ = captured(PROCEDURES["scheduled AdamW"])
    fit(whole, pictures(), 6, tmp_path, length=8)
    groups = whole.training_state()["players"]["model"]["optimizer"]["param_groups"]
    assert all(isinstance(group["lr"], float) for group in groups)
    assert isinstance(whole.players["model"].optimizer.param_groups[0]["lr"], Tensor)
    assert whole.options()["lr/model/rest"] == pytest.approx(groups[-1]["lr"])


def test_a_copy_of_an_optimization_steps_eagerly(tmp_path: Path) -> None:
    from copy import deepcopy

    whole, _ = captured(PROCEDURES["plain"])
    fit(whole, pictures(), 6, tmp_path)
    assert type(deepcopy(whole.execution)).__name__ == "Eager"
