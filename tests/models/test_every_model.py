"""Properties of every model. They are found by folder and built from the experiments, so new ones are tested too."""

import inspect
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

import frame.models
from frame.common.durations import Duration
from frame.composition.compose import compose
from frame.composition.folders import config_folder
from frame.composition.instantiate import instantiate
from frame.composition.stored import resolved
from frame.data.base import Batch, DataSet, Source, whole_batch
from frame.data.CIFAR10 import CIFAR10
from frame.data.loader import Loader
from frame.data.MNIST import MNIST
from frame.data.sprites import Sprites
from frame.data.STL10 import STL10
from frame.data.take import TakenRows
from frame.models.base import AdversarialModel, Model
from frame.optimization.base import Optimization
from frame.optimization.execution import Eager
from frame.optimization.traces import refusal, shapes_of, tracing, why_not
from tests.optimization.fitting import fit
from tests.own.tape import OnTape
from tests.sized import sized
from tests.slow import slow_but

EXPERIMENTS = sorted(path.stem for path in (config_folder() / "experiment").glob("*.yaml"))
MODELS = sorted(p.stem for p in Path(frame.models.__path__[0]).glob("*.py") if p.stem not in ("__init__", "base"))
# Parameters that a loss cannot move, by model and the end of their name
UNREACHED: dict[str, dict[str, str]] = {
    "ANDMask": {"predictor.head.linear.bias": "on these rows the environments disagree about it"},
    # a constant cancels in the gap and has no slope
    "WGAN_GP": dict.fromkeys(("adversary.linear.bias", "adversary.critic.linear.bias"), "critic's last bias"),
}
# Files that nothing downloads
OWN_FILES = {"counts_VAE": "counts/pbmc700.npz", "series_VAE": "series/ItalyPowerDemand_TRAIN.ts"}


def model_class(name: str) -> type[Model]:
    """The Model subclass that frame/models/<name>.py defines."""
    module = import_module(f"frame.models.{name}")
    found = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    (only,) = [c for c in found if issubclass(c, Model)]
    return only


def fake(shape: tuple[int, ...]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Replaces the reading of files by pictures of blobs, in which no two pixels or rows are alike."""

    def read(self: DataSet, train: bool) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(int(train))
        x = torch.randint(0, 256, (640, *shape), dtype=torch.uint8, generator=generator)
        return x, torch.arange(640) % 10

    return read


@contextmanager
def no_files() -> Iterator[None]:
    with (
        patch.object(MNIST, "read", fake((1, 28, 28))),
        patch.object(CIFAR10, "read", fake((3, 32, 32))),
        patch.object(STL10, "read", fake((3, 96, 96))),
        patch.object(Sprites, "file", "none.npz"),  # rendered: the official file takes seconds to read
    ):
        yield


@cache
def composed_once(experiment: str) -> DictConfig:
    """The experiment's config with the sizes of its data; composing takes longest."""
    needed = OWN_FILES.get(experiment)
    if needed is not None and not (Path(os.environ.get("DATA_ROOT", "./data")) / needed).exists():
        pytest.skip(f"there is no {needed} below DATA_ROOT")
    with no_files():
        return sized(compose([f"experiment={experiment}"]))


def composed(experiment: str) -> DictConfig:
    """The experiment with networks as small as they get, so that the tests are quick."""
    config: DictConfig = deepcopy(composed_once(experiment))
    for key, value in config.params.items():
        if str(key).endswith("_layers") and value is not None:
            config.params[key] = [16] * len(value)
        elif str(key).endswith("_channels") and value is not None:
            config.params[key] = [4] * len(value)
        elif str(key).endswith(("_width", "_depth")):
            config.params[key] = 4
    return config


def rows(config: DictConfig, n_rows: int) -> Source:
    """The first training rows of the experiment."""
    with no_files():
        data: DataSet = instantiate(resolved(config.data))
        return TakenRows(data.training(), n_rows)


def build(experiment: str) -> tuple[Model, Batch]:
    """The model, and a batch that it can take."""
    config = composed(experiment)
    return instantiate(resolved(config.model)), whole_batch(rows(config, 12), torch.arange(12))


def model_of(experiment: str) -> str:
    """The model in an experiment's defaults, or its parent's. It is read as text, because composing takes seconds."""
    text = (config_folder() / "experiment" / f"{experiment}.yaml").read_text()
    if named := re.search(r"^ *- (?:override )?/model: (\w+)", text, re.MULTILINE):
        return named[1]
    parent = re.search(r"^ *- (?!_self_)(\w+)$", text, re.MULTILINE)
    assert parent is not None, experiment
    return model_of(parent[1])


USED = {name: model_of(name) for name in EXPERIMENTS}
CASES = [name for name, model in USED.items() if name != "VAE_MNIST"]  # the other name of MNIST_VAE
FIRST = {USED[name]: name for name in reversed(CASES)} | {USED[n]: n for n in reversed(CASES) if n.startswith("digits")}
# one experiment of every model, on the smallest pictures; the others are slow
ONE_OF_EACH = slow_but(FIRST.values(), CASES)


class Adversary(nn.Module):
    """The adversary's loss in the place of a model's own loss."""

    def __init__(self, model: AdversarialModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.model.compute_adversarial_loss(batch)


def losses_of(model: Model) -> dict[str, tuple[nn.Module, list[str]]]:
    """By player: the module that computes its losses, and the names of its parameters in the model."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not isinstance(model, AdversarialModel):
        return {"model": (model, names)}
    theirs = [name for name in names if name.startswith("adversary.")]
    return {"model": (model, [name for name in names if name not in theirs]), "adversary": (Adversary(model), theirs)}


def test_every_model_has_an_experiment() -> None:
    assert set(MODELS) <= set(USED.values())


def test_every_model_has_a_config_whose_keys_are_its_arguments() -> None:
    for name in MODELS:
        keys = OmegaConf.load(config_folder() / "model" / f"{name}.yaml").model.keys() - {"_target_"}
        assert keys == inspect.signature(model_class(name)).parameters.keys(), name


@pytest.mark.parametrize("name", CASES)
def test_an_experiment_has_a_description(name: str) -> None:
    header = (config_folder() / "experiment" / f"{name}.yaml").read_text().partition("\ndefaults:")[0]
    for word in ("# Paper: ", "# Loss: ", "# Deviations: ", "# Command: "):
        assert word in header, word
    assert "# Result" in header or "Not yet measured" in header
    assert f"experiment={name}" in header


@pytest.mark.parametrize("experiment", ONE_OF_EACH)
def test_gradients_reach_every_parameter_of_the_player_and_no_other(experiment: str) -> None:
    torch.manual_seed(0)
    model, batch = build(experiment)
    unreached = UNREACHED.get(USED[experiment], {})
    parameters = dict(model.named_parameters())
    for player, (objective, mine) in losses_of(model).items():
        for name, parameter in parameters.items():  # as Optimization.playing does
            parameter.grad = None
            parameter.requires_grad_(name in mine)
        losses = objective(batch)
        assert all(value.shape == () and value.isfinite() for value in losses.values()), player
        losses["loss"].backward()
        for name, parameter in parameters.items():
            if name not in mine or any(name.endswith(end) for end in unreached):
                assert parameter.grad is None or not parameter.grad.any(), f"{player} moves {name}"
            else:
                assert parameter.grad is not None and parameter.grad.isfinite().all(), f"{player} misses {name}"
                assert parameter.grad.abs().sum() > 0, f"{player} misses {name}"


@pytest.mark.parametrize("experiment", ONE_OF_EACH)
def test_losses_are_float32_under_autocast(experiment: str) -> None:
    torch.manual_seed(0)
    model, batch = build(experiment)
    for player, (objective, _) in losses_of(model).items():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = objective(batch)
        for name, value in losses.items():
            assert value.dtype == torch.float32 and value.isfinite(), f"{player}: {name}"


@pytest.mark.parametrize("experiment", ONE_OF_EACH)
def test_a_few_steps_move_every_player(experiment: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = composed(experiment)
    config.params.batch_size = 16
    model = instantiate(resolved(config.model))
    optimization: Optimization = instantiate(resolved(config.optimization), model=model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fit(optimization, rows(config, 48), 6, tmp_path)
    assert all(isfinite(value) for loss in optimization.recent for value in loss.values())
    now = dict(model.named_parameters())
    names = {id(parameter): name for name, parameter in now.items()}
    for who, player in optimization.players.items():
        assert any(not torch.equal(p, before[names[id(p)]]) for p in player.parameters), who
    assert all(p.requires_grad for player in optimization.players.values() for p in player.parameters)


def call(objective: nn.Module, states: Any, batch: Batch) -> Tensor:
    losses: dict[str, Tensor] = functional_call(objective, states, (batch,))
    return losses["loss"]


def alone_with_gradients(objective: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss with the noise of seed 1, and the gradients by parameter."""
    objective.zero_grad()
    torch.manual_seed(1)
    loss: Tensor = objective(batch)["loss"]
    loss.backward()
    return loss, {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("experiment", ONE_OF_EACH)
def test_stacked_models_equal_a_loop(experiment: str) -> None:
    """Three models in one vmap, with the same noise for each, have the losses and gradients of three in a row.

    The order of a sum may move a gradient as much as the last digits of the weights do: a lot in a ResNet on 12 rows,
    and in one unit where a ReLU begins.
    """
    torch.manual_seed(0)
    models = [build(experiment)[0] for _ in range(3)]
    batch = build(experiment)[1]
    if not models[0].vectorisable:
        pytest.skip(f"{USED[experiment]} cannot be stacked")
    for player in losses_of(models[0]):
        objectives = [losses_of(model)[player][0] for model in models]
        parameters, buffers = stack_module_state(objectives)

        def loss(parameters: Any, buffers: Any, objective: nn.Module = objectives[0]) -> Tensor:
            return call(objective, (parameters, buffers), batch)

        def fresh(buffers: Any) -> Any:  # a loss may write into them
            return {name: buffer.clone() for name, buffer in buffers.items()}

        torch.manual_seed(1)
        stacked = vmap(loss, randomness="same")(parameters, fresh(buffers))
        torch.manual_seed(1)
        gradients = vmap(grad(loss), randomness="same")(parameters, fresh(buffers))
        for i, objective in enumerate(objectives):
            alone, own = alone_with_gradients(objective, batch)
            torch.testing.assert_close(stacked[i], alone, rtol=1e-4, atol=1e-4)
            with torch.no_grad():
                for parameter in objective.parameters():
                    parameter.mul_(1 + torch.finfo(torch.float32).eps * torch.randn_like(parameter).sign())
            rounded = alone_with_gradients(objective, batch)[1]
            for name, gradient in own.items():
                allowed = 1e-4 + 2e-3 * gradient.norm() + 10 * (rounded[name] - gradient).norm()
                assert (gradients[name][i] - gradient).norm() <= allowed, name


@pytest.mark.parametrize("experiment", ONE_OF_EACH)
def test_stacked_models_can_draw_different_noise(experiment: str) -> None:
    """Twice the same parameters: with the same noise they agree; with their own, only where none is drawn."""
    torch.manual_seed(0)
    model, batch = build(experiment)
    if not model.vectorisable:
        pytest.skip(f"{USED[experiment]} cannot be stacked")
    losses = set()
    for seed in range(4):  # two losses may agree in all digits that float32 has
        torch.manual_seed(seed)
        losses.add(deepcopy(model)(batch)["loss"].item())  # a loss may write into buffers that it reads
    draws_noise = len(losses) > 1
    for randomness, same in (("different", not draws_noise), ("same", True)):
        torch.manual_seed(3)
        parameters, buffers = stack_module_state([model, model])
        stacked = vmap(lambda p, b: call(model, (p, b), batch), randomness=randomness)(parameters, buffers)
        if same:  # a batched product may round the last digit of one of them otherwise
            torch.testing.assert_close(stacked[0], stacked[1], rtol=1e-5, atol=1e-5)
        else:
            assert (stacked[0] != stacked[1]).item()


TRACED = ("digits_GAN", "digits_Joint", "digits_MAE", "digits_MoCo", "digits_FixMatch", "digits_SparseAutoencoder")


@pytest.mark.parametrize("experiment", slow_but((*TRACED, "CMNIST_GroupDRO", "digits_VQVAE"), FIRST.values()))
def test_a_step_reads_no_value_and_can_be_captured(experiment: str) -> None:
    """Nor does the augmentation, nor reading the rows."""
    config = composed(experiment)
    config.params.batch_size = 16
    loader = Loader(rows(config, 16), 16)
    stored = next(loader.stored())
    optimization: Optimization = instantiate(resolved(config.optimization), model=instantiate(resolved(config.model)))
    optimization.bind([Duration(100_000, "iterations")], loader)
    optimization.players = optimization.grouped_players()
    optimization.accumulated, optimization.rows, optimization.average = 1, 16, 0.9
    optimization.prepare_average()
    there, shapes = loader.on_meta(), shapes_of(stored)
    made: Batch = {}

    def make() -> None:
        with tracing():
            made.update(there.made(shapes))

    assert refusal(make) == ""
    for updates, _ in optimization.kinds():
        optimization.counters["updates"] = updates
        assert why_not(optimization, made) == ""


@pytest.mark.parametrize("experiment", slow_but(("digits_VQVAE",), FIRST.values()))
def test_captured_steps_are_eager_ones(experiment: str, tmp_path: Path) -> None:
    """With a tape in the place of a CUDA graph: in 20 steps, those that it replays give the same weights and losses."""
    ends = []
    for execution in (Eager(), tape := OnTape()):
        config = composed(experiment)
        config.params.batch_size = 16
        torch.manual_seed(0)
        model = instantiate(resolved(config.model))
        optimization: Optimization = instantiate(resolved(config.optimization), model=model)
        optimization.execution = execution
        fit(optimization, rows(config, 56), 20, tmp_path)
        ends.append((model.state_dict(), list(optimization.recent)))
    assert sum(one.replays for one in tape.tapes) >= 16
    (weights, losses), (other_weights, other_losses) = ends
    for name, weight in weights.items():
        torch.testing.assert_close(other_weights[name], weight, rtol=1e-4, atol=1e-5, msg=name)
    assert other_losses == [pytest.approx(loss, rel=1e-4, abs=1e-5) for loss in losses]
