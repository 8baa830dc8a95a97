"""Convolutional encoders and decoders of any picture: the layers written out, channels by default, refusals."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent
from torch.nn.functional import softplus

from frame.architectures import convolutional, critics, generators, residual
from frame.architectures.base import DiscretisedLogisticPicture
from frame.architectures.convolutional import ConvBackbone, ConvDecoder, ConvEncoder, default_channels
from frame.common.errors import UserError
from frame.probability.distributions import Delta, DiscretisedLogistic

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 64, 64), (2, 12, 40)]


def test_an_encoder_without_hidden_layers_is_its_convolutions_and_its_head() -> None:
    """Written out: pictures enter as 2x - 1, each convolution is followed by a ReLU."""
    torch.manual_seed(0)
    encoder, x = ConvEncoder((3, 32, 32), 3, [4, 6], scale_shift=-1.0, centred=True), torch.rand(2, 3, 32, 32)
    w1, b1, w2, b2, weight, bias = encoder.parameters()
    h = nn.functional.conv2d(2 * x - 1, w1, b1, stride=2, padding=1).relu()
    h = nn.functional.conv2d(h, w2, b2, stride=2, padding=1).relu().flatten(1) @ weight.T + bias
    q = encoder(x)
    torch.testing.assert_close(q.mean, h[:, :3])
    torch.testing.assert_close(q.stddev, softplus(h[:, 3:] - 1) + 1e-6)


def test_a_deterministic_encoder_is_the_mean_of_the_same_layers() -> None:
    torch.manual_seed(0)
    plain, point = ConvEncoder((1, 8, 8), 3, [4]), ConvEncoder((1, 8, 8), 3, [4], deterministic=True)
    weights = plain.state_dict() | {k: v[:3] for k, v in plain.state_dict().items() if k.startswith("head.")}
    point.load_state_dict(weights)
    x = torch.rand(2, 1, 8, 8)
    q = point(x)
    assert isinstance(q, Delta)
    torch.testing.assert_close(q.mean, plain(x).mean)


def test_pooled_features_are_the_mean_of_the_last_map() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 3, 32, 32)
    flat, pooled = ConvBackbone((3, 32, 32), [4, 6]), ConvBackbone((3, 32, 32), [4, 6], pooled=True)
    pooled.load_state_dict(flat.state_dict())
    assert (flat.n_out, pooled.n_out) == (6 * 64, 6)
    torch.testing.assert_close(pooled(x), flat(x).view(4, 6, 64).mean(2))
    assert ConvBackbone((3, 32, 32), [4, 6], [5], pooled=True)(x).shape == (4, 5)
    encoder = ConvEncoder((3, 32, 32), 3, [4, 6], pooled=True)
    assert encoder.features(x).shape == (4, 6) and encoder(x).event_shape == (3,)


def test_layers_are_normalised_over_the_batch_written_out() -> None:
    torch.manual_seed(0)
    backbone, x = ConvBackbone((1, 8, 8), [4, 6], [5], batch_norm=True), torch.rand(7, 1, 8, 8)
    kinds = [type(layer).__name__ for layer in [*backbone.convolutions, *backbone.hidden]]
    assert kinds == 2 * ["Conv2d", "BatchNorm", "ReLU"] + ["Linear", "BatchNorm", "ReLU"]

    def bn(h: Tensor) -> Tensor:
        rows = h.transpose(0, 1).flatten(1).T  # all that a channel has in a column
        return (h.movedim(1, -1) - rows.mean(0)).div((rows.var(0, correction=0) + 1e-5).sqrt()).movedim(-1, 1)

    w1, w2, w3 = (p for p in backbone.parameters() if p.dim() > 1)
    h = bn(nn.functional.conv2d(x, w1, stride=2, padding=1)).relu()
    h = bn(nn.functional.conv2d(h, w2, stride=2, padding=1)).relu()
    torch.testing.assert_close(backbone(x), bn(h.flatten(1) @ w3.T).relu())
    backbone.eval()
    torch.testing.assert_close(backbone(x)[:1], backbone(x[:1]))
    with pytest.raises(UserError, match="shared_statistics are those of batch_norm"):
        ConvBackbone((1, 8, 8), [4], shared_statistics=True)


def test_a_decoder_without_hidden_layers_is_a_linear_map_and_its_convolutions() -> None:
    torch.manual_seed(0)
    decoder, z = ConvDecoder((3, 32, 32), 5, [], [6, 4], DiscretisedLogisticPicture(256)), torch.randn(2, 5)
    weight, bias, w1, b1, w2, b2 = decoder.parameters()
    h = (z @ weight.T + bias).relu().view(2, 6, 8, 8)
    h = nn.functional.conv_transpose2d(h, w1, b1, stride=2, padding=1).relu()
    h = nn.functional.conv_transpose2d(h, w2, b2, stride=2, padding=1).view(2, 2, 3, 32, 32)
    p = decoder(z)
    assert isinstance(p, Independent) and isinstance(p.base_dist, DiscretisedLogistic)
    torch.testing.assert_close(p.base_dist.loc, h[:, 0] + 0.5)
    torch.testing.assert_close(p.base_dist.scale, softplus(h[:, 1] - 2.25) + 0.1 / 255)


def test_channels_by_default() -> None:
    expected = {8: [32], 12: [32], 16: [32, 64], 28: [32, 64], 32: [32, 64, 128], 64: [32, 64, 128, 256], 30: [32]}
    assert {side: default_channels((1, side, side)) for side in expected} == expected
    assert default_channels((3, 256, 256)) == [32, 64, 128, 256, 256, 256]
    assert default_channels((1, 64, 8)) == [32]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_defaults_take_every_picture(shape: tuple[int, ...]) -> None:
    x, z = torch.rand(2, *shape), torch.randn(2, 3)
    assert ConvEncoder(shape, 3)(x).event_shape == (3,)
    assert ConvDecoder(shape, 3)(z).event_shape == shape
    assert generators.ConvGenerator(shape, 3)(z).event_shape == shape
    assert critics.ConvCritic(shape)(x).shape == (2,)
    first, last = convolutional.ConvBackbone(shape).convolutions[0], ConvDecoder(shape, 3).convolutions[-1]
    assert isinstance(first, nn.Conv2d) and first.out_channels == 32
    assert isinstance(last, nn.ConvTranspose2d) and last.in_channels == 32


NETWORKS: dict[str, Callable[..., Any]] = {
    "encoder": lambda shape, channels: ConvEncoder(shape, 3, channels),
    "decoder": lambda shape, channels: ConvDecoder(shape, 3, [], channels),
    "generator": lambda shape, channels: generators.ConvGenerator(shape, 3, [], channels),
    "critic": critics.ConvCritic,
    "backbone": convolutional.ConvBackbone,
    "residual encoder": lambda shape, channels: residual.Encoder(shape, 3, [4] if channels is None else channels, [2]),
    "residual decoder": lambda shape, channels: residual.Decoder(shape, 3, [4] if channels is None else channels, [2]),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels", [None, [4]], ids=["default", "given"])
def test_rows_that_are_no_pictures_are_one_line(name: str, channels: list[int] | None) -> None:
    for shape in ((12,), (12, 8), (2, 1, 8, 8), ()):
        with pytest.raises(UserError, match=r"^shape=\[.*take pictures \[channels, height, width\]") as error:
            NETWORKS[name](shape, channels)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_sides_that_cannot_be_halved_so_often_are_one_line(name: str) -> None:
    for shape, channels, says in (
        ((1, 28, 28), [4, 4, 4], r"^channels=\[4, 4, 4\]: each entry halves the 28 x 28 pixels, give 1 to 2$"),
        ((1, 8, 12), [], r"^channels=\[\]: each entry halves the 8 x 12 pixels, give 1 to 2$"),
        ((3, 27, 28), [4], r"^shape=\[3, 27, 28\]: 27 x 28 pixels cannot be halved"),
        ((3, 27, 27), None, r"^shape=\[3, 27, 27\]: 27 x 27 pixels cannot be halved"),
    ):
        with pytest.raises(UserError, match=says):
            NETWORKS[name](shape, channels)
