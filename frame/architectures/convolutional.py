"""Convolutional encoders and decoders. Each convolution halves the picture, so its sides must be divisible by 2^n."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures import base
from frame.architectures.heads import DiagonalNormalHead
from frame.architectures.layers import doubling, halving, mlp
from frame.common.errors import UserError, at_least
from frame.models.base import ConditionalDistribution


def smallest(shape: Sequence[int], channels: Sequence[int]) -> tuple[int, int]:
    """Height and width of the last feature map: each entry of `channels` halves a picture of `shape`.

    Raises:
        UserError: no channels, or more than the picture can be halved.
    """
    _, height, width = shape
    common = math.gcd(height, width)
    most = (common & -common).bit_length() - 1  # how often 2 divides both
    if not 1 <= len(channels) <= most:
        raise UserError(f"channels={list(channels)}: each entry halves the {height} x {width} pixels, give 1 to {most}")
    return height // 2 ** len(channels), width // 2 ** len(channels)


class ConvBackbone(nn.Module):
    """x [B, *shape] in [0, 1] -> the last hidden layer, [B, n_out]; the last feature map, flat, if there are none.

    Args:
        shape: of one picture.
        channels: of the convolutions, each of which halves the picture.
        layers: widths of the hidden layers behind them.
        centred: x enters as 2x - 1.

    Raises:
        UserError: a width is not positive, or there are more halvings than the picture has.
    """

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], layers: Sequence[int] = (), centred: bool = False
    ) -> None:
        super().__init__()
        side = smallest(shape, channels)
        n_flat = channels[-1] * math.prod(side)
        self.centred = centred
        self.convolutions = halving(shape[0], channels)
        self.hidden = mlp(n_flat, layers)
        self.n_out = [n_flat, *layers][-1]

    def forward(self, x: Tensor) -> Tensor:
        if self.centred:
            x = 2 * x - 1
        return self.hidden(self.convolutions(x).flatten(start_dim=1))


class ConvEncoder(base.Encoder):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): x [B, *shape] in [0, 1] -> batch_shape (B,), event_shape (z_dim,).

    Args:
        shape: of one picture.
        z_dim: number of latents.
        channels: of the convolutions, each of which halves the picture.
        layers: widths of the hidden layers between the last feature map and z.
        scale_shift: sigma = softplus(rho + scale_shift).
        centred: x enters as 2x - 1.

    Raises:
        UserError: z_dim or a width is not positive, or there are more halvings than the picture has.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        channels: Sequence[int],
        layers: Sequence[int],
        scale_shift: float = 0.0,
        centred: bool = False,
    ) -> None:
        backbone = ConvBackbone(shape, channels, layers, centred)
        super().__init__(backbone, DiagonalNormalHead(backbone.n_out, z_dim, scale_shift))


class ConvDecoder(ConditionalDistribution):
    """p(x|z): z [B, z_dim] -> batch_shape (B,), event_shape `shape`.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers between z and the first feature map.
        channels: of the transposed convolutions, each of which doubles the picture.
        distribution: of the values, Bernoulli by default.

    Raises:
        UserError: z_dim or a width is not positive, or there are more doublings than the picture has.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int],
        channels: Sequence[int],
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.distribution = distribution or base.BernoulliPicture()
        height, width = smallest(shape, channels)
        self.smallest = (channels[0], height, width)
        self.hidden = mlp(z_dim, [*layers, math.prod(self.smallest)])
        self.convolutions = doubling(channels, self.distribution.n_parameters * shape[0])

    def forward(self, z: Tensor) -> Distribution:
        numbers = self.convolutions(self.hidden(z).unflatten(-1, self.smallest))
        found: Distribution = self.distribution(numbers.unflatten(1, (self.distribution.n_parameters, -1)))
        return found
