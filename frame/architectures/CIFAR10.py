"""Convolutional networks for pictures 3 x 32 x 32: CIFAR-10."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures import base, convolutional
from frame.architectures.layers import doubling
from frame.common.errors import at_least
from frame.models.base import ConditionalDistribution

SHAPE = (3, 32, 32)


class Encoder(convolutional.ConvEncoder):
    """q(z|x) with convolutions of `channels`, at most five; x enters as 2x - 1. See `convolutional.ConvEncoder`."""

    def __init__(self, z_dim: int, channels: Sequence[int], scale_shift: float = 0.0) -> None:
        super().__init__(SHAPE, z_dim, channels, [], scale_shift, centred=True)


class Decoder(ConditionalDistribution):
    """p(x|z): z [B, z_dim] -> batch_shape (B,), event_shape (3, 32, 32).

    Args:
        z_dim: number of latents.
        channels: of the transposed convolutions, each of which doubles the picture.
        distribution: of the values, a discretised logistic over 256 levels by default.

    Raises:
        UserError: z_dim or a width is not positive, or there are more doublings than the picture has.
    """

    def __init__(
        self, z_dim: int, channels: Sequence[int], distribution: base.PictureDistribution | None = None
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.distribution = distribution or base.DiscretisedLogisticPicture(256)
        height, width = convolutional.smallest(SHAPE, channels)
        self.smallest = (channels[0], height, width)
        self.convolutions = doubling(channels, self.distribution.n_parameters * 3)
        self.linear = nn.Linear(z_dim, math.prod(self.smallest))

    def forward(self, z: Tensor) -> Distribution:
        features = self.linear(z).relu().unflatten(-1, self.smallest)
        numbers = self.convolutions(features)
        found: Distribution = self.distribution(numbers.unflatten(1, (self.distribution.n_parameters, 3)))
        return found


class Predictor(base.Predictor):
    """p(y|z) over the 10 classes; see `base.Predictor`."""

    def __init__(self, z_dim: int, layers: Sequence[int] = (), activation: nn.Module | None = None) -> None:
        super().__init__(z_dim, 10, layers, activation)
