"""The encoder of any backbone and head: pooling, errors, and a run with a user's own backbone."""

import json
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from frame.architectures import MNIST, bidirectional, conditional, convolutional, residual
from frame.architectures.base import (
    BernoulliPicture,
    DiagonalNormal,
    DiscretisedLogisticPicture,
    Encoder,
    LabelPredictor,
    MLPDecoder,
    MLPEncoder,
    NormalPicture,
    NumberPredictor,
    PictureOfLevels,
    Predictor,
)
from frame.architectures.heads import CategoricalHead, DeltaHead, DiagonalNormalHead
from frame.common.errors import UserError
from frame.composition.checks import check
from frame.composition.compose import compose
from frame.composition.folders import OwnFolder, use_own_folder
from frame.composition.instantiate import instantiate
from frame.engine.experiment import build, train
from frame.engine.opening import guard
from frame.evaluation.codes import LAYERS
from frame.models.base import mean_prediction, prediction
from frame.models.VAE import VAE
from tests import digits
from tests.own.backbones import Contrast, Map, Tokens, Wrapped
from tests.processes import OWN

X = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Returns(nn.Module):
    """A backbone that returns rows of the first numbers of x, in a shape of its own."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : torch.Size(self.shape).numel()].reshape(-1, *self.shape)


def features(backbone: nn.Module, **options: Any) -> Tensor:
    return Encoder(backbone, DeltaHead(4, 2), **options).features(X)


def test_maps_and_tokens_are_pooled_and_features_stay() -> None:
    flat = X.flatten(1)
    torch.testing.assert_close(features(Returns(6)), flat[:, :6])
    torch.testing.assert_close(features(Returns(3, 2, 4)), flat[:, :24].view(5, 3, 2, 4).sum((2, 3)) / 8)
    torch.testing.assert_close(features(Returns(6, 4)), flat[:, :24].view(5, 6, 4).sum(1) / 6)
    torch.testing.assert_close(features(Returns(6, 4), tokens="first"), flat[:, :4])


@pytest.mark.parametrize("kind", ["dataclass", "dict", "mapping", "named tuple"])
def test_a_named_field_is_the_output(kind: str) -> None:
    torch.manual_seed(0)
    for backbone in (Map(4), Tokens(8, 4)):
        found = features(Wrapped(backbone, kind), field="last_hidden_state")
        torch.testing.assert_close(found, features(backbone))


def test_the_head_reads_the_features() -> None:
    torch.manual_seed(0)
    for head in (DiagonalNormalHead(4, 2), DeltaHead(4, 2), CategoricalHead(4, 2)):
        encoder = Encoder(Map(4), head)
        q, expected = encoder(X), head(encoder.features(X))
        assert q.batch_shape == (5,) and type(q) is type(expected)
        value = expected.sample()
        if not isinstance(head, DeltaHead):
            torch.testing.assert_close(q.log_prob(value), expected.log_prob(value))
    assert Encoder(Map(4), DeltaHead(4, 2)).z_dim == 2 and not hasattr(Encoder(Map(4), CategoricalHead(4, 2)), "z_dim")


def test_every_encoder_of_ours_is_a_backbone_and_a_head() -> None:
    y = torch.tensor([0, 3])
    cases: list[tuple[Encoder, tuple[Tensor, ...], int]] = [
        (MNIST.Encoder(3, [8, 5]), (torch.rand(2, 1, 28, 28),), 5),
        (digits.Encoder(3, [], deterministic=True), (torch.rand(2, 1, 8, 8),), 64),
        (digits.ConvEncoder(3, [4, 6], []), (torch.rand(2, 1, 8, 8),), 24),
        (convolutional.ConvEncoder((1, 64, 64), 3, [4, 6], [7]), (torch.rand(2, 1, 64, 64),), 7),
        (convolutional.ConvEncoder((3, 32, 32), 3, [4] * 5), (torch.rand(2, 3, 32, 32),), 4),
        (residual.Encoder((3, 8, 12), 3, [4, 6], [2]), (torch.rand(2, 3, 8, 12),), 6),
        (bidirectional.Encoder((1, 4, 5), 3, [8, 6]), (torch.rand(2, 1, 4, 5),), 6),
        (conditional.Encoder((1, 8, 8), 10, 3, [9]), (torch.rand(2, 1, 8, 8), y), 9),
    ]
    for encoder, inputs, size in cases:
        assert isinstance(encoder, Encoder) and encoder.z_dim == 3
        assert {name.partition(".")[0] for name, _ in encoder.named_parameters()} <= {"backbone", "head"}
        assert encoder.features(*inputs).shape == (2, size) and encoder.head.n_in == size
        assert encoder(*inputs).batch_shape == (2,)


def test_encoders_of_backbones_are_stacked() -> None:
    """Three models in one vmap are three in a row."""
    torch.manual_seed(0)
    backbones = (lambda: Map(4), lambda: Wrapped(Tokens(8, 4), "mapping"))
    for backbone, field in zip(backbones, (None, "last_hidden_state"), strict=True):
        models = [
            VAE(Encoder(backbone(), DeltaHead(4, 2), field), MLPDecoder((1, 8, 8), 2, [4]), DiagonalNormal(2), 1.0)
            for _ in range(3)
        ]
        encoders: list[nn.Module] = [model.encoder for model in models]
        parameters, buffers = stack_module_state(encoders)

        def code(parameters: Any, buffers: Any, encoder: nn.Module = encoders[0]) -> Tensor:
            found: Tensor = functional_call(encoder, (parameters, buffers), (X,)).mean
            return found

        stacked = vmap(code)(parameters, buffers)
        for i, encoder in enumerate(encoders):
            torch.testing.assert_close(stacked[i], encoder(X).mean)


def test_transformers_backbones_go_in_as_they_are() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    vit = transformers.ViTModel(transformers.ViTConfig(image_size=8, patch_size=4, num_channels=1, **sizes))
    options = {"num_channels": 1, "embedding_size": 4, "hidden_sizes": [6], "depths": [1], "layer_type": "basic"}
    resnet = transformers.ResNetModel(transformers.ResNetConfig(**options))
    for backbone, size, tokens in ((vit, 12, "first"), (resnet, 6, "mean")):
        encoder = Encoder(backbone.eval(), DeltaHead(size, 2), field="last_hidden_state", tokens=tokens)
        assert encoder.features(X).shape == (5, size) and encoder(X).event_shape == (2,)
    torch.testing.assert_close(
        Encoder(vit, DeltaHead(12, 2), "last_hidden_state", "first").features(X), vit(X).last_hidden_state[:, 0]
    )
    torch.testing.assert_close(features(resnet, field="pooler_output"), features(resnet, field="last_hidden_state"))


def test_a_partial_head_takes_the_backbones_number_of_features() -> None:
    node = {
        "_target_": "frame.architectures.base.Encoder",
        "backbone": {"_target_": "frame.architectures.base.MLPBackbone", "shape": [1, 8, 8], "layers": [7, 5]},
        "head": {"_target_": "frame.architectures.heads.DiagonalNormalHead", "_partial_": True, "z_dim": 3},
    }
    check({"encoder": node}, {"encoder": node}, {})
    torch.manual_seed(0)
    encoder = instantiate(node, "encoder")
    torch.manual_seed(0)
    plain = MLPEncoder((1, 8, 8), 3, [7, 5])
    assert encoder.state_dict().keys() == plain.state_dict().keys() and encoder.z_dim == 3
    assert torch.equal(encoder(X).mean, plain(X).mean)
    assert guard(node)  # such a run is opened
    with pytest.raises(UserError, match="^Map has no n_out, .*: give it one, or the head an n_in"):
        Encoder(Map(4), partial(DeltaHead, z_dim=2))
    with pytest.raises(UserError, match=r"^encoder cannot be built: .*z_dim"):
        instantiate({**node, "head": {"_target_": "frame.architectures.heads.DeltaHead", "_partial_": True}}, "encoder")


@pytest.mark.parametrize("levels", [2, 3, 17, 256, None])
def test_the_likelihood_of_the_data_is_that_of_its_levels(levels: int | None) -> None:
    """The class that the levels call for, with the same first weights, names and values."""
    by_hand = {2: BernoulliPicture(), None: NormalPicture(0.1)}.get(levels) or DiscretisedLogisticPicture(levels or 0)
    decoders = []
    for distribution in (PictureOfLevels(levels), by_hand):
        torch.manual_seed(0)
        decoders.append(MLPDecoder((1, 2, 3), 4, [5], distribution=distribution))
    chosen, plain = decoders
    assert chosen.state_dict().keys() == plain.state_dict().keys() and not [*PictureOfLevels(levels).state_dict()]
    z, x = torch.randn(6, 4), torch.randint(0, levels or 99, (6, 1, 2, 3)) / ((levels or 99) - 1)
    p, q = chosen(z), plain(z)
    assert torch.equal(p.log_prob(x), q.log_prob(x)) and torch.equal(p.mean, q.mean)
    assert type(p.base_dist) is type(q.base_dist) and p.event_shape == (1, 2, 3)


def test_the_scale_of_continuous_values() -> None:
    p = MLPDecoder((3,), 2, [], distribution=PictureOfLevels(None, scale=0.5))(torch.randn(4, 2))
    torch.testing.assert_close(p.stddev, torch.full((4, 3), 0.5))
    for wrong, says in (({"levels": 1}, "levels=1"), ({"levels": None, "scale": 0.0}, "scale=0.0")):
        with pytest.raises(UserError, match=says):
            PictureOfLevels(**wrong)


# Bad input


WRONG = {
    "a tuple": (lambda: Wrapped(Map(4), "tuple"), {}, "Wrapped returns a tuple, whose parts have no names: wrap it"),
    "a list": (lambda: Wrapped(Map(4), "list"), {}, "Wrapped returns a list, whose parts have no names"),
    "nothing": (lambda: Wrapped(Map(4), "none"), {}, "Wrapped returns None, whose parts"),
    "a field of a tuple": (lambda: Wrapped(Map(4), "tuple"), {"field": "count"}, "returns a tuple, whose parts"),
    "no field named": (
        lambda: Wrapped(Map(4), "dataclass"),
        {},
        "Wrapped returns a Output instead of a tensor: name the field to take, field=last_hidden_state$",
    ),
    "no such field": (
        lambda: Wrapped(Map(4), "mapping"),
        {"field": "last_hiden_state"},
        "Wrapped: no field in its ModelOutput 'last_hiden_state': did you mean 'last_hidden_state'",
    ),
    "a field that is None": (
        lambda: Wrapped(Map(4), "dataclass"),
        {"field": "pooler_output"},
        "field=pooler_output is None instead of a tensor; tensors: last_hidden_state",
    ),
    "a field that is a tuple": (
        lambda: Wrapped(Map(4), "dict"),
        {"field": "hidden_states"},
        "field=hidden_states is a tuple instead of a tensor",
    ),
    "a field of a tensor": (lambda: Map(4), {"field": "x"}, "field=x: Map returns a tensor, which has no fields"),
    "too few dimensions": (lambda: nn.Flatten(0), {}, r"Flatten returns a tensor \[320\] for 5 rows of x"),
    "too many dimensions": (lambda: Returns(2, 2, 2, 2), {}, r"Returns returns a tensor \[5, 2, 2, 2, 2\] for 5 rows"),
    "rows that are lost": (lambda: nn.Flatten(0, 1), {}, None),
    "other rows": (lambda: nn.Unflatten(0, (1, 5)), {}, None),
    "a first token of a map": (lambda: Map(4), {"tokens": "first"}, r"tokens=first: Map returns \[5, 4, 4, 4\]"),
    "another size": (lambda: Map(6), {}, "DeltaHead has n_in=4, but Map returns 6 features: set the head's n_in to 6"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_output_of_a_backbone_is_one_line(case: str) -> None:
    backbone, options, says = WRONG[case]
    encoder = Encoder(backbone(), DeltaHead(4, 2), **options)
    with pytest.raises(UserError, match=says or "for 5 rows of x|features") as error:
        encoder(X)
    assert "\n" not in str(error.value)


def test_an_invalid_backbone_or_head_is_refused_when_built() -> None:
    with pytest.raises(UserError, match="backbone must be a torch.nn.Module, and is {'width': 4}: give it a _target_"):
        Encoder({"width": 4}, DeltaHead(4, 2))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="head must be a torch.nn.Module, and is None"):
        Encoder(Map(4), None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no tokens 'frist': did you mean 'first'"):
        Encoder(Map(4), DeltaHead(4, 2), tokens="frist")
    with pytest.raises(UserError, match="the head Linear returns a Tensor instead of a distribution"):
        Encoder(Map(4), nn.Linear(4, 2))(X)


# A user's own folder


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(OwnFolder, "folder", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    use_own_folder(OWN / "config")
    yield
    sys.modules.pop("backbones", None)


def composed(*words: str) -> DictConfig:
    return compose(["experiment=contrast", *words])


def test_an_own_backbone_trains_and_its_features_are_measured(own: None, tmp_path: Path) -> None:
    assert train(composed(f"device.experiments_root={tmp_path}"), ["experiment=contrast"]) == 0
    (records,) = tmp_path.glob("*/*/records.jsonl")
    found = {record["name"]: record for record in map(json.loads, records.read_text().splitlines())}
    assert found["KNN/Validation"]["layer"] == "mean" and found["KNN/Validation/features"]["layer"] == "features"
    assert "KNN/Validation/floor/untrained_features" in found


def test_features_are_the_layer_before_a_projection() -> None:
    """As in SimCLR: the code is the projection, and evaluations read the backbone's features."""
    torch.manual_seed(0)
    backbone, head = Tokens(8, 16), DeltaHead(16, 4)
    model = Contrast(Encoder(backbone, head, tokens="first"))
    h = backbone(X)[:, 0]
    for layer, expected in (("features", h), ("mean", head.linear(h)), ("sample", head.linear(h))):
        capability, take = LAYERS[layer]
        assert isinstance(model, capability)
        torch.testing.assert_close(take(model, {"x": X}), expected)
    losses = [model({"x": X, "views": [X, view]})["loss"] for view in (X, X.flip(0))]
    assert losses[0] < losses[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "architectures.encoder.backbone.kind=dict model.encoder={_target_:backbones.Tokens,side:8,width:4}",
            r"model.encoder \(Tokens\) returns a Tensor instead of a distribution: put a head on it",
        ),
        ("architectures.encoder.head.n_in=17", "DeltaHead has n_in=17, but Wrapped returns 16 features"),
        ("architectures.encoder.field=last", "no field in its ModelOutput 'last'"),
        ("architectures.encoder.field=null", "field=last_hidden_state"),
        ("architectures.encoder.backbone.kind=tuple", "Wrapped returns a tuple, whose parts have no names"),
    ],
)
def test_a_backbone_that_does_not_fit_ends_before_training(own: None, words: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        build(composed(*words.split()))


def test_two_classes_may_have_one_logit() -> None:
    """With a class of reference, log p(y = 1) is -softplus(-l), and there is one weight for each number of z."""
    torch.manual_seed(0)
    predictor, z = Predictor(3, 2, reference=True, init="glorot"), torch.randn(5, 3)
    assert [tuple(p.shape) for p in predictor.parameters()] == [(1, 3), (1,)]
    logit = predictor.head.linear(z).squeeze(1)
    y = torch.tensor([0, 1, 1, 0, 1])
    expected = nn.functional.binary_cross_entropy_with_logits(logit, y.float(), reduction="none")
    torch.testing.assert_close(-predictor(z).log_prob(y), expected)
    assert not predictor.head.linear.bias.any()  # Glorot's biases are 0
    three = Predictor(3, 3, [4], reference=True)(z).logits
    assert three.shape == (5, 3)


def test_numbers_are_predicted_with_the_squared_error() -> None:
    torch.manual_seed(0)
    predictor, z, y = NumberPredictor(3), torch.randn(2, 5, 3), torch.randn(5)
    p = predictor(z)
    assert p.batch_shape == (2, 5)
    error = (p.mean - y).square()
    torch.testing.assert_close(-p.log_prob(y), error + 0.5 * math.log(math.pi))
    with pytest.raises(UserError, match="scale=0"):
        NumberPredictor(3, scale=0.0)
    several = NumberPredictor(3, [4], layers=[8])(z)
    assert (several.batch_shape, several.event_shape, several.mean.shape) == ((2, 5), (4,), (2, 5, 4))
    error = (several.mean - torch.ones(5, 4)).square() + 0.5 * math.log(math.pi)
    torch.testing.assert_close(-several.log_prob(torch.ones(5, 4)), error.sum(-1))


def test_labels_are_predicted_by_a_bernoulli_each() -> None:
    torch.manual_seed(0)
    predictor, z, y = LabelPredictor(3, [4], [8]), torch.randn(2, 5, 3), torch.rand(5, 4) > 0.5
    p, logits = predictor(z), predictor.linear(predictor.hidden(z))
    assert (p.batch_shape, p.event_shape) == ((2, 5), (4,))
    expected = nn.functional.binary_cross_entropy_with_logits(logits, y.float().expand(2, 5, 4), reduction="none")
    torch.testing.assert_close(-p.log_prob(y), expected.sum(-1))
    torch.testing.assert_close(prediction(p), logits.sigmoid().log())
    torch.testing.assert_close(mean_prediction([p, predictor(z + 1)]).exp(), (p.mean + predictor(z + 1).mean) / 2)
    for shape in ((), None):
        with pytest.raises(UserError, match="several labels a row"):
            LabelPredictor(3, shape)
