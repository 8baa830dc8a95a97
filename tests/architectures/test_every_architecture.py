"""Every file of config/architectures, found by folder: what it builds for data of each shape, and what it refuses."""

import inspect
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from frame.architectures.base import DiagonalNormal, MLPEncoder, UniformCube
from frame.common.errors import UserError
from frame.composition.checks import check, targets
from frame.composition.config_files import load
from frame.composition.folders import config_folder
from frame.composition.instantiate import instantiate, locate
from frame.engine.opening import guard
from tests.slow import slow_but

FOLDER = config_folder() / "architectures"
FILES = {f"{file.parent.name}/{file.stem}": file for file in sorted(FOLDER.rglob("*.yaml"))}
SHAPES: dict[tuple[int, ...], int | None] = {  # and the levels of their values
    (1, 8, 8): 17,
    (1, 28, 28): 256,
    (3, 32, 32): 256,
    (1, 64, 64): 2,
    (12,): None,
    (3, 20): None,  # series
}
PARAMS = {"z_dim": 6, "z2_dim": 6, "noise_dim": 6, "n_features": 6, "n_categories": 5, "n_continuous": 2}
REFERENCES = {f"params.{key}" for key in PARAMS} | {
    f"sizes.{key}" for key in ("x", "y", "n_classes", "levels", "n_envs")
}
MADE = {"n_in": PARAMS["n_features"], "patch_size": 4}
ROWS = 4


def comment(file: Path) -> str:
    return file.read_text().partition("\n")[0]


SERIES = [name for name, file in FILES.items() if comment(file).endswith("Series [C, T].")]
COUNTS = [name for name, file in FILES.items() if comment(file).endswith("Counts [G].")]
PICTURES = [name for name, file in FILES.items() if re.search(r"\bPictures\b[^:]*\.$", comment(file))]


def filled(node: Any, values: dict[str, Any]) -> Any:
    """The node with its references replaced, as `build` writes them into the config."""
    if isinstance(node, dict):
        return {key: filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, values) for value in node]
    if isinstance(node, str) and node.startswith("${"):
        return values[node[2:-1]]
    return node


def config(name: str, shape: tuple[int, ...], *, small: bool = True) -> dict[str, Any]:
    """The plain values of an option; `small`: of a backbone as small as it gets."""
    values: dict[str, Any] = {f"params.{key}": value for key, value in PARAMS.items()}
    values |= {
        "sizes.x": list(shape),
        "sizes.y": [3],
        "sizes.n_classes": 10,
        "sizes.levels": SHAPES[shape],
        "sizes.n_envs": ROWS,
    }
    found: dict[str, Any] = filled(load(FILES[name]), values)
    for _, node in targets(found):
        if small and node["_target_"].endswith("ResNet"):
            node["width"] = 4
        elif small and node["_target_"].rpartition(".")[2] in ("ViT", "PatchDecoder"):
            node |= {"dim": 4 * node["n_heads"], "depth": 2}
    return found


def build(name: str, shape: tuple[int, ...], *, small: bool = True) -> Any:
    node, place = config(name, shape, small=small), "architectures." + name.partition("/")[0]
    check({place: node}, {place: node}, {})
    found = instantiate(node, place)
    if not isinstance(found, partial):
        return found
    # a model makes the rest of it
    return found(**{key: value for key, value in MADE.items() if key in inspect.signature(found.func).parameters})


class Data:
    """A batch of each thing that a network may read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.x = torch.rand(ROWS, *shape)
        if levels := SHAPES[shape]:
            self.x = (self.x * (levels - 1)).round() / (levels - 1)
        self.y = torch.arange(ROWS)
        self.z = torch.randn(ROWS, PARAMS["z_dim"])
        self.features = torch.randn(ROWS, PARAMS["n_features"])
        self.encoder = MLPEncoder(shape, PARAMS["z_dim"], [8])


def spread(q: Distribution, *event: int) -> Tensor:
    """What depends on all parameters of a distribution of these rows."""
    assert q.batch_shape == (ROWS,) and q.event_shape == event
    return q.mean.square().sum() + q.variance.sum()


# What is taken of a network: its name, or its option's, says what it reads


def encoder(network: Any, name: str, data: Data) -> Tensor:
    inputs = (data.x, data.y) if "conditional" in name else (data.x,)
    assert network.z_dim == PARAMS["z_dim"] and network.features(*inputs).dim() == 2
    sides = data.x.shape[2:] if "residual" in name else ()
    return spread(network(*inputs), PARAMS["z_dim"], *[side // 4 for side in sides])


def decoder(network: Any, name: str, data: Data) -> Tensor:
    z = data.z
    if "residual" in name:
        z = z[:, :, None, None].expand(-1, -1, *[side // 4 for side in data.x.shape[2:]])
    p = network(z, data.y) if "conditional" in name else network(z)
    if name in COUNTS:
        assert p.batch_shape == (ROWS,) and p.event_shape == data.x.shape[1:]
        return -p.log_prob((9 * data.x).round()).mean()
    assert isinstance(p, Independent) and p.batch_shape == (ROWS,) and p.event_shape == data.x.shape[1:]
    kind = {2: "Bernoulli", None: "Normal"}.get(SHAPES[tuple(data.x.shape[1:])], "DiscretisedLogistic")
    assert type(p.base_dist).__name__ == kind
    return -p.log_prob(data.x).mean()


def patch_decoder(network: Any, name: str, data: Data) -> Tensor:
    n = math.prod(data.x.shape[2:]) // 16
    tokens, order = torch.randn(ROWS, 1 + n // 2, PARAMS["n_features"]), torch.rand(ROWS, n).argsort(1)
    found: Tensor = network(tokens, order)
    assert found.shape == (ROWS, n, 16 * data.x.shape[1])
    return found.square().sum()


def prior(network: Any, name: str, data: Data) -> Tensor:
    p = network(encoder=data.encoder)
    assert p.batch_shape == () and p.event_shape == (PARAMS["z_dim"],) and p.sample((3,)).isfinite().all()
    return -p.log_prob(data.z / 10).mean()


def generator(network: Any, name: str, data: Data) -> Tensor:
    found = network(100 * data.z).mean
    continuous = SHAPES[tuple(data.x.shape[1:])] is None
    assert found.shape == data.x.shape and (found.min() < 0 if continuous else 0 <= found.min() <= found.max() <= 1)
    return (found - data.x).square().sum()


def critic(network: Any, name: str, data: Data) -> Tensor:
    inputs: tuple[Tensor, ...] = (data.x,)
    if "feature" in name:
        inputs = (data.features,)
    elif "code" in name:
        inputs = (data.z,)
    elif "joint" in name or "bidirectional" in name:
        inputs = (data.x, data.z)
    logits: Tensor = network(*inputs)
    assert logits.shape == (ROWS,)
    return logits.square().sum()


def estimator(network: Any, name: str, data: Data) -> Tensor:
    inputs = {"x_z": (data.x, data.z), "z1_z2": (data.z, data.z + 1), "v1_v2": (data.x, 1 - data.x)}
    (pair,) = [pair for pair in inputs if pair in name]
    found: dict[str, Tensor] = network(*inputs[pair])
    assert found["information"].isfinite()
    return found["loss"]


# The first pattern that is found in 'network/option'
TAKEN: dict[str, Callable[[Any, str, Data], Tensor]] = {
    "^(encoder|decoder)_2/": lambda network, name, data: spread(network(data.z), PARAMS["z_dim"]),
    "class_normal|conditional_prior|backward_encoder": lambda network, name, data: spread(
        network(data.y), PARAMS["z_dim"]
    ),
    "patch_decoder": patch_decoder,
    "classifier": lambda network, name, data: network(data.x).logits.square().sum(),
    "projector|target_predictor": lambda network, name, data: network(data.features).square().sum(),
    "encoder": encoder,
    "decoder": decoder,
    "prior": prior,
    "predictor/(numbers|labels)": lambda network, name, data: (
        -network(data.z).log_prob((torch.arange(3 * ROWS).view(ROWS, 3) % 2).float()).mean()
    ),
    "predictor": lambda network, name, data: -network(data.z.expand(3, -1, -1)).log_prob(data.y).mean(),
    "discriminator|critic": critic,
    "generator": generator,
    "body": lambda network, name, data: (network(data.x) - data.features).square().sum(),
    "categorical": lambda network, name, data: network(data.features).logits[:, : PARAMS["n_categories"]].sum(),
    "continuous": lambda network, name, data: spread(network(data.features), PARAMS["n_continuous"]),
    "estimator": estimator,
}


def taken(network: Any, name: str, data: Data) -> Tensor:
    """A loss of this network on the data."""
    return next(take for pattern, take in TAKEN.items() if re.search(pattern, name))(network, name, data)


# An option that does not read x is tried with one shape
CASES = [
    (name, shape) for name, file in FILES.items() for shape in [*SHAPES][: None if "sizes.x" in file.read_text() else 1]
]


@pytest.mark.parametrize(
    "name, shape", slow_but([case for case in CASES if case[1] in ((1, 8, 8), (12,))], CASES), ids=str
)
def test_an_option_serves_data_of_each_shape_that_it_says(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    says = {
        name in PICTURES and len(shape) != 3: r"take pictures \[channels, height, width\]",
        name in SERIES and len(shape) != 2: r"take series \[channels, steps\]",
        name in COUNTS and name.startswith("decoder") and len(shape) != 1: r"counts are rows \[genes\]",
    }.get(True)
    if says:
        with pytest.raises(UserError, match=rf"^shape=\[{str(list(shape))[1:-1]}\]: .*{says}") as error:
            build(name, shape)
        assert "\n" not in str(error.value)
        return
    network: nn.Module = build(name, shape)
    loss = taken(network, name, Data(shape))
    parameters = dict(network.named_parameters())
    if parameters:
        loss.backward()
    else:
        assert isinstance(network, DiagonalNormal | UniformCube)
    for key, parameter in parameters.items():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_that_cannot_be_halved_are_one_line(name: str) -> None:
    """Only ResNets take odd sides; a ViT's patches must divide them."""
    shape = (1, 27, 27)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHAPES, shape, 2)
        if "resnet" in name:
            assert build(name, shape)(torch.rand(2, *shape)).event_shape == (6,)
            return
        with pytest.raises(
            UserError, match="cannot be halved|patch_size=4 does not divide the 27 x 27 pixels"
        ) as error:
            build(name, shape)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in FILES if re.match("encoder/(resnet|vit)", name)])
def test_backbones_at_their_own_size(name: str) -> None:
    """By hand: the ResNets without their last layer, the ViTs at patches of 4 x 4, and a linear head."""
    n = sum(p.numel() for p in build(name, (3, 32, 32), small=False).parameters())
    stem = 3 * 64 * (9 - 49)  # 3 x 3 in the place of 7 x 7
    trunk, n_out = {
        "encoder/resnet18": (11_689_512 - 513_000 + stem, 512),
        "encoder/resnet50": (25_557_032 - 2_049_000 + stem, 2048),
        "encoder/vit_tiny": (5_717_416 - 193_000 + 192 * (48 - 768 + 65 - 197), 192),
        "encoder/vit_small": (22_050_664 - 385_000 + 384 * (48 - 768 + 65 - 197), 384),
    }[name]
    assert n == trunk + (n_out + 1) * 2 * PARAMS["z_dim"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_holds_all_arguments_of_its_class_and_says_what_it_is(name: str) -> None:
    node, text = load(FILES[name]), FILES[name].read_text()
    assert comment(FILES[name]).startswith("# ") and "@package" not in text
    for path, part in targets(node):
        if not part["_target_"].startswith("frame."):
            continue
        arguments = list(inspect.signature(locate(part["_target_"], path)).parameters)
        given = {*MADE} if "_partial_" in part else {"field", "tokens"} - part.keys() if "backbone" in part else set()
        assert {key for key in part if not key.startswith("_")} == {*arguments} - given, "YAML keys are its arguments"
    assert {*re.findall(r"\$\{([^}]*)\}", text)} <= REFERENCES
    assert guard(config(name, (1, 8, 8)))  # a run with it can be opened


def test_each_network_that_a_model_asks_for_has_a_folder() -> None:
    asked = {
        network
        for file in (config_folder() / "model").glob("*.yaml")
        for network in re.findall(r"\$\{architectures\.(\w+)\}", file.read_text())
    }
    assert {name.partition("/")[0] for name in FILES} == asked
    assert all(re.fullmatch(r"\w+/[a-z0-9_]+", name) for name in FILES)
