"""Fully convolutional networks with residual blocks, for pictures of any size; their latents are a map of vectors.

The networks of van den Oord et al. 2017 (1711.00937), section 4.1. As in the authors' example in Sonnet, the first
convolution has half the width, a 3 x 3 convolution comes before the blocks, and a ReLU follows them.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures import base
from frame.architectures.convolutional import smallest
from frame.architectures.heads import DeltaMapHead
from frame.architectures.layers import check_widths, doubling, halving
from frame.common.errors import at_least
from frame.models.base import ConditionalDistribution


class ResidualBlock(nn.Module):
    """x + 1x1(ReLU(3x3(ReLU(x)))): [B, channels, H, W], with `inner` channels between the two convolutions."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, inner, kernel_size=3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(inner, channels, kernel_size=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        again: Tensor = x + self.branch(x)
        return again


def residual_stack(channels: int, residual_channels: Sequence[int]) -> nn.Sequential:
    """A block for each width in `residual_channels`, then ReLU."""
    check_widths("residual_channels", residual_channels)
    return nn.Sequential(*[ResidualBlock(channels, inner) for inner in residual_channels], nn.ReLU())


class ResidualBackbone(nn.Module):
    """Maps pictures x [B, C, H, W] in [0, 1] to features [B, channels[-1], H / 2^n, W / 2^n]. They enter as x - 1/2.

    Args:
        shape: shape of one picture, (C, H, W).
        channels: channels of the n convolutions. Each halves the sides of the picture.
        residual_channels: inner widths of the residual blocks.

    Raises:
        UserError: a width is not positive, `shape` is not [C, H, W], or its sides cannot be halved n times.
    """

    def __init__(self, shape: Sequence[int], channels: Sequence[int], residual_channels: Sequence[int]) -> None:
        super().__init__()
        smallest(shape, channels)
        self.n_out = channels[-1]
        self.hidden = nn.Sequential(
            halving(shape[0], channels),
            nn.Conv2d(self.n_out, self.n_out, kernel_size=3, padding=1),
            residual_stack(self.n_out, residual_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.hidden(x - 0.5)
        return found


class Encoder(base.Encoder):
    """q(z|x) with all mass at z_e(x): pictures [B, C, H, W] in [0, 1] -> a map [B, z_dim, H / 2^n, W / 2^n].

    Args:
        shape: shape of one picture, (C, H, W).
        z_dim: length of each of the map's vectors.
        channels: channels of the n convolutions. Each halves the sides of the picture.
        residual_channels: inner widths of the residual blocks.

    Raises:
        UserError: z_dim or a width is not positive, `shape` is not [C, H, W], or its sides cannot be halved n times.
    """

    def __init__(
        self, shape: Sequence[int], z_dim: int, channels: Sequence[int], residual_channels: Sequence[int]
    ) -> None:
        backbone = ResidualBackbone(shape, channels, residual_channels)
        super().__init__(backbone, DeltaMapHead(backbone.n_out, z_dim))


class Decoder(ConditionalDistribution):
    """p(x|z): a map z [B, z_dim, H / 2^n, W / 2^n] -> batch_shape (B,), event_shape (C, H, W).

    Args:
        shape: shape of one picture, (C, H, W).
        z_dim: length of each of the map's vectors.
        channels: channels of the n transposed convolutions. Each doubles the sides of the picture.
        residual_channels: inner widths of the residual blocks.
        distribution: distribution of the values, Bernoulli by default.

    Raises:
        UserError: z_dim or a width is not positive, `shape` is not [C, H, W], or its sides cannot be halved n times.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        channels: Sequence[int],
        residual_channels: Sequence[int],
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        smallest(shape, channels)
        self.z_dim = z_dim
        self.shape = tuple(shape)
        self.distribution = distribution or base.BernoulliPicture()
        self.layers = nn.Sequential(
            nn.Conv2d(z_dim, channels[0], kernel_size=3, padding=1),
            residual_stack(channels[0], residual_channels),
            doubling(channels, self.distribution.n_parameters * shape[0]),
        )

    def forward(self, z: Tensor) -> Distribution:
        return self.distribution(self.layers(z).unflatten(1, (self.distribution.n_parameters, self.shape[0])))
