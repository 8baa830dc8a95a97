"""What holds for every model: they are found by folder and built from the experiments, so a new one is tested too."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

import frame.models
from frame.compose import compose, config_folder
from frame.models.base import Model

SHAPES = {"digits": (1, 8, 8), "MNIST": (1, 28, 28), "FashionMNIST": (1, 28, 28), "CIFAR10": (3, 32, 32)}
# Smaller networks, so that the test is quick
SMALL = {"encoder_layers": [16], "decoder_layers": [16], "encoder_channels": [4, 8], "decoder_channels": [8, 4]}
BY_HAND = {
    "Classifier": {
        "model": {"_target_": "frame.models.Classifier.Classifier"},
        "architectures": {
            "encoder": {"_target_": "frame.architectures.digits.Encoder", "z_dim": 4, "layers": [16]},
            "predictor": {"_target_": "frame.architectures.digits.Predictor", "z_dim": 4},
        },
        "shape": (1, 8, 8),
    }
}
EXPERIMENTS = sorted(path.stem for path in (config_folder() / "experiment").glob("*.yaml"))
MODELS = sorted(p.stem for p in Path(frame.models.__path__[0]).glob("*.py") if p.stem not in ("__init__", "base"))


def model_class(name: str) -> type[Model]:
    """The Model subclass that frame/models/<name>.py defines."""
    module = import_module(f"frame.models.{name}")
    found = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    (only,) = [c for c in found if issubclass(c, Model)]
    return only


def builds() -> dict[str, tuple[str, str]]:
    """Test id to (model, experiment, or '' where none uses it)."""
    used = {}
    for experiment in EXPERIMENTS:
        config = compose([f"experiment={experiment}"])
        used[experiment] = str(config.model["_target_"]).split(".")[-1]
    cases = {experiment: (model, experiment) for experiment, model in used.items() if model in MODELS}
    return cases | {model: (model, "") for model in MODELS if model not in used.values()}


CASES = builds()


def build(case: str) -> tuple[Model, dict[str, Tensor]]:
    """The model with small networks, and a batch that it can take."""
    model_name, experiment = CASES[case]
    if experiment:
        config = compose([f"experiment={experiment}"])
        for key in SMALL.keys() & config.params.keys():
            config.params[key] = SMALL[key]
        shape = SHAPES[str(config.data["_target_"]).split(".")[-2]]
        model = instantiate(config.model)
    else:
        assert model_name in BY_HAND, f"no experiment uses {model_name}: add one, or a small build to BY_HAND"
        by_hand = BY_HAND[model_name]
        model = instantiate(OmegaConf.create({**by_hand["model"], **by_hand["architectures"]}))  # type: ignore[dict-item]
        shape = by_hand["shape"]  # type: ignore[assignment]
    assert type(model) is model_class(model_name)
    generator = torch.Generator().manual_seed(0)
    batch = {"x": torch.rand(6, *shape, generator=generator).round(), "y": torch.arange(6)}
    return model, {key: batch[key] for key in model.needs}


def test_every_model_has_a_config_whose_keys_are_its_arguments() -> None:
    for name in MODELS:
        keys = OmegaConf.load(config_folder() / "model" / f"{name}.yaml").keys() - {"_target_"}
        assert keys == inspect.signature(model_class(name)).parameters.keys(), name


@pytest.mark.parametrize("name", MODELS)
def test_a_method_fits_on_two_screens(name: str) -> None:
    assert len(inspect.getsource(import_module(f"frame.models.{name}")).splitlines()) <= 120


@pytest.mark.parametrize("case", CASES)
def test_loss_is_finite_and_gradients_reach_every_parameter(case: str) -> None:
    torch.manual_seed(0)
    model, batch = build(case)
    losses = model(batch)
    assert all(value.shape == () and value.isfinite() for value in losses.values())
    losses["loss"].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


def _loss(model: Model, states: Any, batch: dict[str, Tensor]) -> Tensor:
    losses: dict[str, Tensor] = functional_call(model, states, (batch,))
    return losses["loss"]


@pytest.mark.parametrize("case", CASES)
def test_stacked_models_equal_a_loop(case: str) -> None:
    """Three models in one vmap, with the same noise for each, have the losses and gradients of three in a row."""
    torch.manual_seed(0)
    models = [build(case)[0] for _ in range(3)]
    batch = build(case)[1]
    if not models[0].vectorisable:
        pytest.skip(f"{case} says that it cannot be stacked")
    parameters, buffers = stack_module_state(models)

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return _loss(models[0], (parameters, buffers), batch)

    torch.manual_seed(1)
    stacked = vmap(loss, randomness="same")(parameters, buffers)
    torch.manual_seed(1)
    gradients = vmap(grad(loss), randomness="same")(parameters, buffers)
    for i, model in enumerate(models):
        torch.manual_seed(1)
        alone = model(batch)["loss"]
        torch.testing.assert_close(stacked[i], alone)
        alone.backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name][i], parameter.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", [case for case, (model, _) in CASES.items() if model != "Classifier"])
def test_stacked_models_can_draw_different_noise(case: str) -> None:
    """Twice the same parameters: with noise of their own the losses differ, with the same noise they do not."""
    torch.manual_seed(0)
    model, batch = build(case)
    if not model.vectorisable:
        pytest.skip(f"{case} says that it cannot be stacked")
    parameters, buffers = stack_module_state([model, model])
    for randomness, same in (("different", False), ("same", True)):
        stacked = vmap(lambda p, b: _loss(model, (p, b), batch), randomness=randomness)(parameters, buffers)
        assert (stacked[0] == stacked[1]).item() is same
