"""Convolutional encoders and decoders. Each convolution halves the picture, so its sides must be divisible by 2^n."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures import base
from frame.architectures.heads import DeltaHead, DiagonalNormalHead
from frame.architectures.layers import batch_normalised, doubling, halving, mlp, picture
from frame.common.errors import UserError, at_least
from frame.models.base import ConditionalDistribution


def smallest(shape: Sequence[int], channels: Sequence[int]) -> tuple[int, int]:
    """Height and width of the last feature map: each entry of `channels` halves a picture of `shape`.

    Raises:
        UserError: `shape` is not [C, H, W]; there are no channels, or more than its sides can be halved.
    """
    _, height, width = picture(shape)
    common = math.gcd(height, width)
    most = (common & -common).bit_length() - 1  # how often 2 divides both
    if most < 1:
        raise UserError(
            f"shape={list(shape)}: {height} x {width} pixels cannot be halved: resize them, or choose an MLP"
        )
    if not 1 <= len(channels) <= most:
        raise UserError(f"channels={list(channels)}: each entry halves the {height} x {width} pixels, give 1 to {most}")
    return height // 2 ** len(channels), width // 2 ** len(channels)


def default_channels(shape: Sequence[int], first: int = 32, most: int = 256) -> list[int]:
    """One entry for each halving down to 4 to 7 pixels, or to odd sides: 32, then twice the one before, at most 256.

    8 x 8: [32]; 28 x 28: [32, 64]; 32 x 32: [32, 64, 128]; 64 x 64: [32, 64, 128, 256]. As in Radford et al. 2016
    (1511.06434), whose networks halve to 4 x 4 pixels, with twice the channels each time.

    Raises:
        UserError: `shape` is not [C, H, W].
    """
    _, height, width = picture(shape)
    channels = [first]
    height, width = height // 2, width // 2
    while min(height, width) >= 8 and height % 2 == width % 2 == 0:
        channels.append(min(2 * channels[-1], most))
        height, width = height // 2, width // 2
    return channels


class ConvBackbone(nn.Module):
    """x [B, *shape] in [0, 1] -> the last hidden layer, [B, n_out]; if there are none, the last feature map, flat.

    Args:
        shape: of one picture.
        channels: of the convolutions, each of which halves the picture; None: see `default_channels`.
        layers: widths of the hidden layers behind them.
        centred: x enters as 2x - 1.
        pooled: the mean over the last map's places, [B, channels[-1]], stands in place of the flat map.
        batch_norm: whether convolutions and hidden layers are normalised over the batch, in evaluation by running
            statistics; see `layers.BatchNorm`.
        shared_statistics: whether the statistics of a batch are those of all ranks' rows.

    Raises:
        UserError: a width is not positive, `shape` is not [C, H, W], or its sides cannot be halved so often.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] | None = None,
        layers: Sequence[int] = (),
        centred: bool = False,
        pooled: bool = False,
        batch_norm: bool = False,
        shared_statistics: bool = False,
    ) -> None:
        super().__init__()
        channels = default_channels(shape) if channels is None else channels
        side = smallest(shape, channels)
        n_in = channels[-1] * (1 if pooled else math.prod(side))
        self.centred, self.pooled = centred, pooled
        self.convolutions, self.hidden = halving(shape[0], channels), mlp(n_in, layers)
        if batch_norm:
            self.convolutions = batch_normalised(self.convolutions, momentum=0.1, shared=shared_statistics)
            self.hidden = batch_normalised(self.hidden, momentum=0.1, shared=shared_statistics)
        elif shared_statistics:
            raise UserError("shared_statistics are those of batch_norm: set batch_norm, too")
        self.n_out = [n_in, *layers][-1]

    def forward(self, x: Tensor) -> Tensor:
        if self.centred:
            x = 2 * x - 1
        maps = self.convolutions(x)
        return self.hidden(maps.mean((2, 3)) if self.pooled else maps.flatten(start_dim=1))


class ConvEncoder(base.Encoder):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): x [B, *shape] in [0, 1] -> batch_shape (B,), event_shape (z_dim,).

    Args:
        shape: of one picture.
        z_dim: number of latents.
        channels: of the convolutions, each of which halves the picture; None: see `default_channels`.
        layers: widths of the hidden layers between the last feature map and z.
        scale_shift: sigma = softplus(rho + scale_shift).
        centred: x enters as 2x - 1.
        deterministic: the head is a `DeltaHead`, with all mass at mu(x).
        pooled, batch_norm, shared_statistics: as in `ConvBackbone`.

    Raises:
        UserError: z_dim or a width is not positive, `shape` is not [C, H, W], or its sides cannot be halved so often.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        channels: Sequence[int] | None = None,
        layers: Sequence[int] = (),
        scale_shift: float = 0.0,
        centred: bool = False,
        deterministic: bool = False,
        pooled: bool = False,
        batch_norm: bool = False,
        shared_statistics: bool = False,
    ) -> None:
        backbone = ConvBackbone(shape, channels, layers, centred, pooled, batch_norm, shared_statistics)
        n = backbone.n_out
        super().__init__(backbone, DeltaHead(n, z_dim) if deterministic else DiagonalNormalHead(n, z_dim, scale_shift))


class ConvDecoder(ConditionalDistribution):
    """p(x|z): z [B, z_dim] -> batch_shape (B,), event_shape `shape`.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers between z and the first feature map.
        channels: of the transposed convolutions, each of which doubles the picture; None: those of
            `default_channels` in the other order.
        distribution: of the values, Bernoulli by default.

    Raises:
        UserError: z_dim or a width is not positive, `shape` is not [C, H, W], or its sides cannot be halved so often.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int] = (),
        channels: Sequence[int] | None = None,
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        channels = default_channels(shape)[::-1] if channels is None else channels
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
