"""Each data set family: shapes, output distributions, and errors."""

import pytest
import torch
from torch import nn

from frame.architectures import MNIST, layers
from frame.architectures.base import MLPBackbone, MLPDecoder, MLPEncoder, Predictor
from frame.architectures.convolutional import ConvDecoder, ConvEncoder
from frame.architectures.critics import ConvCritic
from frame.architectures.generators import ConvGenerator, MLPGenerator
from frame.architectures.layers import BatchNorm, mlp, one_hot, start
from frame.common.errors import UserError
from tests import digits

FAMILIES = [
    (MNIST.Encoder(3, [8, 5]), MNIST.Decoder(3, [5, 8]), Predictor(3), (1, 28, 28)),
    (digits.Encoder(3, [8]), digits.Decoder(3, [8]), digits.Predictor(3, [4]), (1, 8, 8)),
    (ConvEncoder((1, 28, 28), 3, [4, 6], [8]), ConvDecoder((1, 28, 28), 3, [8], [6, 4]), Predictor(3), (1, 28, 28)),
    (digits.ConvEncoder(3, [4, 6], []), digits.ConvDecoder(3, [], [6, 4]), digits.Predictor(3), (1, 8, 8)),
    (
        MLPEncoder((1, 64, 64), 3, [8], nn.Tanh()),
        MLPDecoder((1, 64, 64), 3, [8], nn.Tanh()),
        Predictor(3),
        (1, 64, 64),
    ),
    (ConvEncoder((3, 32, 32), 3, [4, 6]), ConvDecoder((3, 32, 32), 3, [], [6, 4]), Predictor(3), (3, 32, 32)),
]
NAMES = ["MNIST", "digits", "MNIST convolutional", "digits convolutional", "64 x 64, MLP", "colours"]


@pytest.mark.parametrize("encoder, decoder, predictor, shape", FAMILIES, ids=NAMES)
def test_shapes(encoder: nn.Module, decoder: nn.Module, predictor: nn.Module, shape: tuple[int, ...]) -> None:
    q_z_given_x = encoder(torch.rand(5, *shape))
    assert q_z_given_x.batch_shape == (5,) and q_z_given_x.event_shape == (3,)
    p_x_given_z = decoder(q_z_given_x.mean)
    assert p_x_given_z.batch_shape == (5,) and p_x_given_z.event_shape == shape
    p_y_given_z = predictor(torch.randn(7, 5, 3))  # leading dimensions: several samples of z
    assert p_y_given_z.batch_shape == (7, 5) and p_y_given_z.logits.shape == (7, 5, 10)


@pytest.mark.parametrize("side", [8, 28, 64])
def test_generators_and_critics_of_each_kind_of_picture(side: int) -> None:
    shape = (1, side, side)
    pictures = ConvGenerator(shape, 3, [8], [6, 4])(torch.randn(5, 3)).mean
    assert pictures.shape == (5, *shape) and 0 <= pictures.min() and pictures.max() <= 1
    assert ConvCritic(shape, [4, 6], [8])(pictures).shape == (5,)
    with pytest.raises(UserError, match="give 1 to"):
        ConvCritic(shape, [4] * 7)


def test_no_hidden_layer_is_a_linear_network() -> None:
    encoder = MNIST.Encoder(2, [])
    assert sum(isinstance(m, nn.Linear) for m in encoder.modules()) == 1


def test_centred_pictures_enter_as_2x_minus_1() -> None:
    torch.manual_seed(0)
    plain = digits.Encoder(2, [4])
    centred = digits.Encoder(2, [4], centred=True)
    centred.load_state_dict(plain.state_dict())
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(centred(x).mean, plain(2 * x - 1).mean)


def test_the_given_activation_is_used() -> None:
    encoder = digits.Encoder(2, [4, 4], activation=nn.Tanh())
    assert isinstance(encoder.backbone, MLPBackbone)
    assert [type(layer).__name__ for layer in encoder.backbone.hidden] == ["Linear", "Tanh", "Linear", "Tanh"]


def test_gated_layers_are_a_linear_map_times_a_gate() -> None:
    torch.manual_seed(0)
    encoder, x = digits.Encoder(2, [4, 3], activation=nn.GLU()), torch.rand(5, 1, 8, 8)
    h = x.flatten(1)
    for layer in (module for module in encoder.backbone.modules() if isinstance(module, nn.Linear)):
        width = len(layer.weight) // 2
        A, B = layer.weight[:width], layer.weight[width:]
        h = (h @ A.T + layer.bias[:width]) * torch.sigmoid(h @ B.T + layer.bias[width:])
    torch.testing.assert_close(encoder.features(x), h)


def test_one_hot_is_torchs() -> None:
    y = torch.tensor([3, 0, 9])
    torch.testing.assert_close(one_hot(y, 10), nn.functional.one_hot(y, 10).float())


def test_bfloat16_autocast_gives_float32_parameters() -> None:
    encoder, decoder, predictor, shape = FAMILIES[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = encoder(torch.rand(2, *shape))
        z = q.mean
        assert z.dtype == q.stddev.dtype == decoder(z).mean.dtype == predictor(z).logits.dtype == torch.float32


@pytest.mark.parametrize("layers", [[0], [8, -1], [2.5]])
def test_invalid_widths_are_refused(layers: list[int]) -> None:
    with pytest.raises(UserError, match="layers=.*at least 1"):
        MNIST.Encoder(2, layers)
    with pytest.raises(UserError, match="layers=.*at least 1"):
        MNIST.Decoder(2, layers)


def test_too_many_halvings_are_named() -> None:
    with pytest.raises(UserError, match="give 1 to 5"):
        ConvEncoder((3, 32, 32), 2, [4] * 6)
    with pytest.raises(UserError, match="give 1 to 5"):
        ConvDecoder((3, 32, 32), 2, [], [])


def test_zero_latents_are_refused() -> None:
    for decoder in (MNIST.Decoder, digits.Decoder):
        with pytest.raises(UserError, match="z_dim=0"):
            decoder(0, [4])
    with pytest.raises(UserError, match="z_dim=-1"):
        ConvDecoder((3, 32, 32), -1)


def test_the_pair_of_studies_of_disentanglement_is_the_published_one() -> None:
    """Kim & Mnih 2018 (1802.05983), table 1, with 256 in the place of 128 as in Locatello et al. 2019 (1811.12359).

    1 x 64 x 64 -> 32 x 32^2 -> 32 x 16^2 -> 64 x 8^2 -> 64 x 4^2 -> 256 -> 2 x 10, and back."""
    shape = (1, 64, 64)
    encoder = ConvEncoder(shape, 10, [32, 32, 64, 64], [256])
    decoder = ConvDecoder(shape, 10, [256], [64, 64, 32, 32])
    x = torch.rand(3, 1, 64, 64)
    q_z_given_x = encoder(x)
    assert q_z_given_x.batch_shape == (3,) and q_z_given_x.event_shape == (10,)
    assert encoder.features(x).shape == (3, 256)
    p_x_given_z = decoder(q_z_given_x.mean)
    assert p_x_given_z.batch_shape == (3,) and p_x_given_z.event_shape == (1, 64, 64)
    n_parameters = {n: sum(p.numel() for p in net.parameters()) for n, net in (("q", encoder), ("p", decoder))}
    kernels = [(1, 32), (32, 32), (32, 64), (64, 64)]
    there = sum(a * b * 16 + b for a, b in kernels) + (1024 * 256 + 256) + (256 * 20 + 20)
    back = (10 * 256 + 256) + (256 * 1024 + 1024) + sum(a * b * 16 + a for a, b in kernels)
    assert n_parameters == {"q": there, "p": back}
    with pytest.raises(UserError, match="give 1 to 6"):
        ConvEncoder(shape, 2, [4] * 7, [])
    with pytest.raises(UserError, match="z_dim=0"):
        ConvDecoder(shape, 0, [4], [4])


def test_first_weights_keep_a_signals_size() -> None:
    """He's do so through ReLUs, Glorot's through nearly linear layers of equal width; torch's shrink the signal."""
    torch.manual_seed(0)
    x = torch.randn(2000, 256)
    sizes = {}
    for init in ("torch", "he", "glorot"):
        network = mlp(256, [256] * 4, nn.ReLU() if init == "he" else nn.Tanh())
        start(network, init)
        first = network[0](x)
        sizes[init] = first.std().item()
        if init == "he":
            assert network(x).square().mean().item() == pytest.approx(1.0, rel=0.3)
    assert sizes["he"] == pytest.approx(2**0.5, rel=0.05)
    assert sizes["glorot"] == pytest.approx(1.0, rel=0.05)
    assert sizes["torch"] == pytest.approx(3**-0.5, rel=0.05)
    with pytest.raises(UserError, match="did you mean 'glorot'"):
        MNIST.Encoder(2, [4], init="glorott")


def test_running_statistics_are_torchs_and_rows_are_then_alone() -> None:
    torch.manual_seed(0)
    mine, theirs = BatchNorm(3, affine=False, momentum=0.1), nn.BatchNorm1d(3, affine=False)
    for _ in range(30):
        x = torch.randn(50, 3) * torch.tensor([1.0, 5.0, 0.1]) + 2
        torch.testing.assert_close(mine(x), theirs(x))
    assert mine.running is not None and theirs.running_mean is not None and theirs.running_var is not None
    torch.testing.assert_close(mine.running[0], theirs.running_mean)
    torch.testing.assert_close(
        mine.running[1], theirs.running_var * 49 / 50, rtol=0.02, atol=0.0
    )  # torch's is unbiased
    before, x = mine.running.clone(), torch.randn(4, 3)
    mine.eval()
    torch.testing.assert_close(mine(x)[:1], mine(x[:1]))
    assert torch.equal(mine.running, before)
    mine.reset_parameters()
    assert torch.equal(mine(x), x * (1 + mine.eps) ** -0.5)
    far = BatchNorm(3, momentum=0.1)
    far(torch.full((4, 3), 100.0))  # the variance is 0, not below
    assert far.running is not None and torch.allclose(far.running[1], torch.tensor(0.9))
    assert BatchNorm(3)(torch.rand(1, 3)).abs().max() < 1e-4, "a single row is not an error"
    half = BatchNorm(3, affine=False)(x.bfloat16() + 100)  # statistics in bfloat16 would be off by halves
    assert half.mean(0).abs().max() < 1e-5


def test_shared_statistics_are_those_of_the_rows_of_both_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mine, theirs = torch.randn(6, 3, 2) + 100, 5 * torch.randn(6, 3, 2) + 90
    whole = BatchNorm(3, momentum=0.1)
    expected = whole(torch.cat([mine, theirs]))[:6]
    statistics = torch.stack(BatchNorm(3).statistics(theirs)).unsqueeze(0)
    monkeypatch.setattr(layers, "several", lambda: True)
    monkeypatch.setattr(layers, "all_rows", lambda x: torch.cat([x, statistics]))
    shared = BatchNorm(3, momentum=0.1, shared=True)
    torch.testing.assert_close(shared(mine), expected, rtol=1e-4, atol=1e-4)
    assert shared.running is not None and whole.running is not None
    torch.testing.assert_close(shared.running, whole.running)
    assert not torch.allclose(BatchNorm(3)(mine), expected, atol=1e-1)  # its own rows


def test_batch_norm_is_torchs_in_training_and_a_generator_tells_its_latents_apart() -> None:
    torch.manual_seed(0)
    for x in (torch.randn(6, 3) * 4 + 2, torch.randn(6, 3, 4, 5)):
        theirs = nn.BatchNorm1d(3) if x.dim() == 2 else nn.BatchNorm2d(3)
        torch.testing.assert_close(BatchNorm(3)(x), theirs(x))
    for generator in (MLPGenerator((1, 28, 28), 8, [16, 16]), ConvGenerator((1, 28, 28), 8, [16], [4, 4])):
        hidden = [m for m in generator.modules() if isinstance(m, BatchNorm)]
        assert len(hidden) in (2, 3)
        assert all(getattr(m, "bias", None) is None for m in generator.hidden if isinstance(m, nn.Linear))
        pictures = generator(torch.randn(20, 8)).mean
        assert pictures.shape == (20, 1, 28, 28) and pictures.std(0).mean() > 0.1
