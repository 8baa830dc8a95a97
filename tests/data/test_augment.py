"""Rotation, noise and shuffled pixels: what they preserve, and the source of their noise."""

import pytest
import torch
from torch import nn

from frame.common.errors import UserError
from frame.data.augment import Affine, Noise, Rotation, Shuffle, Uniform


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("change", [Rotation(30), Noise(0.2), Shuffle(), Uniform()], ids=lambda c: type(c).__name__)
def test_pictures_stay_pictures_and_noise_is_the_generators(change: nn.Module) -> None:
    x = torch.rand(6, 3, 8, 10, generator=generator(1))
    found = change(x, generator())
    assert found.shape == x.shape and found.min() >= 0 and found.max() <= 1
    assert torch.equal(found, change(x, generator())) and not torch.equal(found, change(x, generator(2)))


def test_rotation_is_affine_with_nothing_else() -> None:
    x = torch.rand(6, 1, 8, 8, generator=generator(1))
    assert torch.equal(Rotation(20)(x, generator()), Affine(20, 0, [1, 1], 0)(x, generator()))


def test_noise_has_its_spread() -> None:
    x = torch.full((1, 1, 100, 100), 0.5)
    assert Noise(0.05)(x, generator()).std().item() == pytest.approx(0.05, rel=0.05)
    assert torch.equal(Noise(0)(x, generator()), x)
    with pytest.raises(UserError, match="std=-1"):
        Noise(-1)


def test_shuffled_pixels_keep_their_channels_together() -> None:
    x = torch.arange(4 * 5 * 5.0).view(4, 1, 5, 5) / 100
    found = Shuffle()(torch.cat([x, x + 7], 1), generator())
    torch.testing.assert_close(found[:, 1], found[:, 0] + 7)
    torch.testing.assert_close(found[:, 0].flatten(1).sort(1).values, x.flatten(1))
    rows = torch.arange(12.0).view(2, 6)
    assert Shuffle()(rows, generator()).sort(1).values.tolist() == rows.tolist()
