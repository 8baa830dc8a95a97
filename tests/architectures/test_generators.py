"""Generators: decoders with all mass at one picture, which depends on z from the first step."""

import math

import pytest
import torch
from torch import Tensor, nn

from frame.architectures import bidirectional
from frame.architectures.generators import ConvGenerator, MLPGenerator
from frame.architectures.layers import he
from frame.probability.distributions import Delta
from tests import digits

GENERATORS = [
    (digits.Generator(3, [16, 16]), (1, 8, 8)),
    (MLPGenerator((1, 28, 28), 3, [16, 16]), (1, 28, 28)),
    (ConvGenerator((1, 28, 28), 3, [16], [8, 4]), (1, 28, 28)),
]


@pytest.mark.parametrize("generator, shape", GENERATORS, ids=["digits", "MNIST", "MNIST convolutional"])
def test_all_mass_at_one_picture(generator: nn.Module, shape: tuple[int, ...]) -> None:
    z = torch.randn(5, 3)
    x = generator(z)
    assert isinstance(x, Delta) and x.batch_shape == (5,) and x.event_shape == shape
    assert 0 < x.mean.min() and x.mean.max() < 1 and torch.equal(x.rsample(), generator(z).mean)
    assert x.mean.std(0).mean() > 0.05  # pictures differ between z


def spread(network: nn.Module, noise: Tensor) -> float:
    return network(noise).square().mean().sqrt().item()


def test_hes_weights_keep_the_size_of_a_signal() -> None:
    """ReLU halves the square of a symmetric signal, and each He layer doubles it again."""
    torch.manual_seed(0)
    linear = nn.Sequential(*[m for _ in range(6) for m in (nn.Linear(200, 200), nn.ReLU())], nn.Linear(200, 200))
    assert spread(linear, torch.randn(500, 200)) < 0.1  # torch's own
    he(linear)
    assert spread(linear, torch.randn(500, 200)) == pytest.approx(math.sqrt(2), rel=0.2)
    assert not any(m.bias.any() for m in linear if isinstance(m, nn.Linear))
    doubling = nn.Sequential(nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(64, 64, 4, 2, 1))
    he(doubling)
    inner = doubling(torch.randn(50, 64, 7, 7))[:, :, 4:-4, 4:-4]  # away from the padding
    assert inner.square().mean().sqrt().item() == pytest.approx(math.sqrt(2), rel=0.2)


def test_continuous_values_are_the_numbers_before_the_sigmoid() -> None:
    torch.manual_seed(0)
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (MLPGenerator((5,), 3, [4]), MLPGenerator((5,), 3, [4], levels=None)),
        (ConvGenerator((1, 8, 8), 3), ConvGenerator((1, 8, 8), 3, levels=None)),
        (bidirectional.Generator((5,), 3, [4]), bidirectional.Generator((5,), 3, [4], levels=None)),
    ]
    z = torch.randn(6, 3)
    for bounded, free in pairs:
        free.load_state_dict(bounded.state_dict())
        torch.testing.assert_close(free(z).mean.sigmoid(), bounded(z).mean)
        assert free(z).mean.min() < 0
