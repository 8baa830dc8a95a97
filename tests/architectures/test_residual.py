"""Residual networks whose latents are maps."""

import pytest
import torch
from torch import nn

from frame.architectures.base import DiscretisedLogisticPicture
from frame.architectures.residual import Decoder, Encoder, ResidualBlock
from frame.common.errors import UserError


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 12)])
def test_shapes(shape: tuple[int, int, int]) -> None:
    encoder, decoder = Encoder(shape, 5, [4, 6], [3, 2]), Decoder(shape, 5, [6, 4], [3, 2])
    x = torch.rand(2, *shape)
    q_z_given_x = encoder(x)
    assert q_z_given_x.batch_shape == (2,) and q_z_given_x.event_shape == (5, shape[1] // 4, shape[2] // 4)
    p_x_given_z = decoder(q_z_given_x.mean)
    assert p_x_given_z.batch_shape == (2,) and p_x_given_z.event_shape == shape
    torch.testing.assert_close(encoder.features(x), encoder.backbone(x).mean((2, 3)))  # [2, 6]
    two = Decoder(shape, 5, [6, 4], [3], DiscretisedLogisticPicture())
    assert two(q_z_given_x.mean).event_shape == shape


def test_published_size() -> None:
    """By hand, encoder: 3*64*16+64, 64*128*16+128, 128*128*9+128, 2 blocks of 128*32*9+32*128, 128*64+64."""
    encoder = Encoder((3, 32, 32), 64, [64, 128], [32, 32])
    blocks = 2 * (128 * 32 * 9 + 32 * 128)
    by_hand = 3 * 64 * 16 + 64 + 64 * 128 * 16 + 128 + 128 * 128 * 9 + 128 + blocks + 128 * 64 + 64
    assert sum(p.numel() for p in encoder.parameters()) == by_hand
    decoder = Decoder((3, 32, 32), 64, [128, 64], [32, 32])
    by_hand = 64 * 128 * 9 + 128 + blocks + 128 * 64 * 16 + 64 + 64 * 3 * 16 + 3
    assert sum(p.numel() for p in decoder.parameters()) == by_hand


def test_a_block_adds_to_its_input() -> None:
    block = ResidualBlock(4, 3)
    x = torch.randn(2, 4, 5, 5)
    for parameter in block.branch[-1].parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match=r"channels=\[4, 4, 4\]: each entry halves"):
        Encoder((3, 28, 28), 5, [4, 4, 4], [3])
    with pytest.raises(UserError, match="give 1 to 2"):
        Encoder((3, 28, 28), 5, [], [3])
    with pytest.raises(UserError, match=r"residual_channels=\[0\]"):
        Decoder((3, 28, 28), 5, [4], [0])
    with pytest.raises(UserError, match="z_dim=0"):
        Decoder((3, 28, 28), 0, [4], [3])
