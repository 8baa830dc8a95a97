"""A model in parts, which one process holds alone: it steps like a whole one, or is refused before training."""

import gc
import weakref
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from frame.common.errors import UserError
from frame.common.ranks import gathered, own_part, whole
from frame.composition.compose import compose
from frame.composition.folders import config_folder
from frame.composition.stored import resolved
from frame.data.base import Batch, whole_batch
from frame.engine.costs import costs
from frame.engine.experiment import build
from frame.evaluation.floors import as_before_training, floors_of, floors_of_part
from frame.models.base import Model
from frame.models.BYOL import BYOL
from frame.optimization.average import Average
from frame.optimization.batch import BatchOptimization
from frame.optimization.lars import LARS
from frame.optimization.sharded import Sharded, _one_process, shard
from tests.joint import networks
from tests.memory import watched_memory

BATCH = {"x": torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), "index": torch.arange(6)}


class Net(Model):
    """A network of blocks; a subclass adds what is hard to split."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 200), nn.Tanh(), nn.Linear(200, 8))
        self.scale = nn.Parameter(torch.ones(3))

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": (self.net(batch["x"]) * self.scale.sum() - batch["x"]).square().mean()}


class OwnGradient(Net):
    """Takes a gradient with respect to its weights on the way to its loss."""

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        loss = super().compute_loss(batch)["loss"]
        gradients = torch.autograd.grad(loss, list(self.net.parameters()), create_graph=True)
        return {"loss": loss + sum(g.square().sum() for g in gradients)}


class Kept(Net):
    """Keeps a reference to a weight from before it is split, which would never be trained."""

    def __init__(self) -> None:
        super().__init__()
        first: Any = self.net[0]
        self.kept: list[Tensor] = [first.weight]

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": super().compute_loss(batch)["loss"] + self.kept[0].pow(2).sum()}


class Scaled(Net):
    """Has a parameter of one number, which cannot be split."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": super().compute_loss(batch)["loss"] * self.scale + self.scale.square()}


def optimization_of(model: Model, optimizer: Any = torch.optim.Adam, **options: Any) -> BatchOptimization:
    return BatchOptimization(model, lambda parameters: optimizer(parameters, lr=0.01), batch_size=6, **options)


class Mixing(Net):
    """Multiplies a weight by a tensor of one number, of which torch only warns."""

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        first: Any = self.net[0]
        return {"loss": super().compute_loss(batch)["loss"] + (first.weight * torch.ones(1, 1)).square().sum()}


def tried(model: Model, **options: Any) -> Sharded:
    execution = Sharded()
    execution.try_out(optimization_of(model, **options), BATCH, lambda model: None)
    assert not torch.distributed.is_initialized()
    return execution


@pytest.mark.parametrize("model", [Net, Scaled])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.AdamW, LARS])
def test_a_model_that_can_be_split_steps_as_before(optimizer: Any, model: type[Model]) -> None:
    execution = tried(model(), optimizer=optimizer, average=0.9, clip=0.1, accumulate=2)
    assert execution.blocks


@pytest.mark.parametrize("model", [OwnGradient, Mixing])
def test_a_loss_that_needs_weights_outside_of_their_layer_gathers_the_model_as_a_whole(model: type[Model]) -> None:
    for _ in range(2):  # torch warns once
        assert not tried(model()).blocks


def test_what_cannot_be_split_is_refused_in_one_line() -> None:
    with pytest.raises(UserError) as refused:
        tried(Kept())
    said = str(refused.value)
    assert said.startswith("trainer.strategy=fsdp2: Kept cannot be sharded") and "\n" not in said
    assert "the gradient of net.0.weight differs" in said and said.endswith("set trainer.strategy=ddp")


def test_an_optimizer_that_does_not_know_parts_is_refused() -> None:
    with pytest.raises(UserError, match="trainer.strategy=fsdp2: Net cannot be sharded"):
        tried(Net(), optimizer=torch.optim.Adafactor)


@pytest.fixture
def split() -> Iterator[Net]:
    with _one_process() as mesh:
        model = Net()
        shard(model, mesh, blocks=True)
        yield model


def test_large_layers_are_blocks_and_the_class_keeps_its_name(split: Net) -> None:
    assert [isinstance(module, FSDPModule) for module in split.net] == [True, False, True]
    assert type(split).__name__ == "Net" and isinstance(split, Net)


def test_parts_are_whole_where_they_compute_and_only_there(split: Net) -> None:
    with gathered(split), torch.no_grad():
        assert type(split.scale) is nn.Parameter and not hasattr(split.scale, "to_local")
        assert hasattr(split.net[0].weight, "to_local")  # until it computes
        split.net(BATCH["x"])
    assert all(hasattr(parameter, "to_local") for parameter in split.parameters())
    assert whole(split.scale).tolist() == own_part(split.scale).tolist() == [1.0, 1.0, 1.0]


def test_without_room_for_whole_copies_nothing_is_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("frame.optimization.sharded.limit", lambda: 100_000)
    assert tried(Kept()).blocks
    assert "Kept is not compared with a whole one before training: that takes" in capsys.readouterr().err


def test_whole_parameters_are_gone_once_the_model_is_split() -> None:
    optimization = optimization_of(Net(), average=0.9)
    optimization.players = optimization.grouped_players()
    before = [weakref.ref(parameter) for parameter in optimization.model.parameters()]
    with _one_process() as mesh:
        Sharded()._split(optimization, mesh)
        gc.collect()
        assert not any(parameter() is not None for parameter in before)


def test_a_teacher_is_in_parts_but_where_it_embeds() -> None:
    model = BYOL(*networks(), nn.Linear(4, 4), 0.9)
    plain, x = deepcopy(model), torch.randn(6, 5)
    before = [weakref.ref(model.teacher.get_buffer(name)) for name in model.teacher.weights]
    with _one_process() as mesh:
        shard(model, mesh, blocks=True)
        gc.collect()
        assert not any(weight() is not None for weight in before)
        weights = [model.teacher.get_buffer(name) for name in model.teacher.weights]
        assert weights and all(isinstance(weight, DTensor) for weight in weights)
        for one in (model, plain):
            with torch.no_grad():
                for parameter in one.parameters():
                    own_part(parameter).mul_(1.5)
            one.after_update(1)
        with torch.no_grad():
            torch.testing.assert_close(model.teacher.embed(x), plain.teacher.embed(x))
        for name, value in plain.teacher.state_dict().items():
            torch.testing.assert_close(whole(model.teacher.state_dict()[name]), value)
        assert all(model.teacher.get_buffer(n) is w for n, w in zip(model.teacher.weights, weights, strict=True))


def test_an_average_of_parts_is_that_of_whole_weights(split: Net) -> None:
    plain = Net()
    plain.load_state_dict({name: whole(value) for name, value in split.state_dict().items()})
    of_parts, of_whole = (Average(model, 0.5) for model in (Net(), plain))
    shard(of_parts.module, DeviceMesh("cpu", [0]), blocks=True)
    for _ in range(3):
        with torch.no_grad():
            for parameter, other in zip(split.parameters(), plain.parameters(), strict=True):
                other.mul_(1.5)
                own_part(parameter).mul_(1.5)
        of_parts.follow(split)
        of_whole.follow(plain)
    for name, value in of_whole.state_dict().items():
        torch.testing.assert_close(whole(of_parts.state_dict()[name]), value)


class Large(Net):
    """Makes a copy of its weights, as a teacher would. Together they have `depth` times 8 MB."""

    def __init__(self, depth: int = 1) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 1024), *(nn.Linear(1024, 1024) for _ in range(depth)), nn.Linear(1024, 8))
        self.copied = deepcopy(self.net)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.compute_loss({**batch, "x": batch["x"].flatten(1)[:, :8]})


def test_nothing_before_training_takes_memory_for_whole_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frame.optimization.sharded.limit", lambda: 100_000)  # so nothing is compared
    words = ["data=digits", "model=VAE", "device.gpus=0", "callbacks=null", "optimization.average=0.9"]
    config = compose([*words, "+trainer.devices=2", "+trainer.strategy=fsdp2"])
    plain = resolved(config)
    n_bytes = 30 * 8 * 1024**2
    for depth in (1, 30):  # at first libraries are loaded
        plain["model"] = {"_target_": "tests.optimization.test_sharded.Large", "depth": depth}
        with watched_memory() as taken:
            experiment = build(plain)
            counted = costs(experiment.optimization, experiment.loader)
            experiment.optimization.execution.untrained(partial(Large, depth))
    assert counted["flops_per_iteration"] > n_bytes  # it was tried
    assert max(taken) - taken[0] < n_bytes / 4
    with watched_memory() as taken, _one_process() as mesh:
        Sharded()._split(experiment.optimization, mesh)  # into one part each, of the model and of its average
    assert max(taken) - taken[0] < 2.25 * n_bytes


def test_the_untrained_model_of_a_model_in_parts_is_in_parts(split: Net) -> None:
    execution = Sharded()
    execution._mesh = DeviceMesh("cpu", [0])
    torch.manual_seed(3)
    plain = Net()
    with floors_of(partial(execution.untrained, Net), 3):
        fresh: Any = as_before_training(split)
    assert isinstance(fresh.net[0], FSDPModule)
    torch.testing.assert_close(fresh(BATCH), plain(BATCH))
    with floors_of(partial(execution.untrained, Net), 3), floors_of_part("net"):
        net: Any = as_before_training(split)
    torch.testing.assert_close(net(BATCH["x"]), plain.net(BATCH["x"]))


EXPERIMENTS = sorted(file.stem for file in (config_folder() / "experiment").glob("digits_*.yaml"))
WHOLE = {"digits_WGAN_GP", "digits_PIWAE"}  # their losses take gradients, or replace weights, on their way


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_step_as_before(name: str) -> None:
    experiment = build(compose([f"+experiment={name}", "device.gpus=0", "callbacks=null"]))
    batch = whole_batch(experiment.data.training(), torch.arange(4))
    execution = Sharded()
    execution.try_out(experiment.optimization, batch, lambda model: None)
    assert execution.blocks == (name not in WHOLE)
