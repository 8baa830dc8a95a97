"""Convolutional networks for pictures 3 x 32 x 32: CIFAR-10."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from frame.architectures import base
from frame.architectures.layers import doubling, halving
from frame.common.errors import UserError, at_least
from frame.models.base import ConditionalDistribution


def _smallest(channels: Sequence[int]) -> int:
    """Side of the last feature map: each entry of `channels` halves 32."""
    if not 1 <= len(channels) <= 5:
        raise UserError(f"channels={list(channels)}: each entry halves the picture of 32, so give 1 to 5 of them")
    return int(32 // 2 ** len(channels))


class Encoder(ConditionalDistribution):
    """q(z|x): x [B, 3, 32, 32] in [0, 1], which enters as 2x - 1 -> batch_shape (B,), event_shape (z_dim,).

    Args:
        z_dim: number of latents.
        channels: of the convolutions, each of which halves the picture.
        scale_shift: sigma = softplus(rho + scale_shift).

    Raises:
        UserError: z_dim or a width is not positive, or there are more halvings than the picture has.
    """

    def __init__(self, z_dim: int, channels: Sequence[int], scale_shift: float = 0.0) -> None:
        super().__init__()
        self.z_dim = z_dim
        side = _smallest(channels)
        self.hidden = halving(3, channels)
        self.head = base.DiagonalNormalHead(channels[-1] * side**2, z_dim, scale_shift)

    def forward(self, *given: Any) -> Independent:
        (x,) = given
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """The last feature map, flat: [B, channels[-1] * side^2]."""
        return self.hidden(2 * x - 1).flatten(start_dim=1)


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
        side = _smallest(channels)
        self.smallest = (channels[0], side, side)
        self.convolutions = doubling(channels, self.distribution.n_parameters * 3)
        self.linear = nn.Linear(z_dim, channels[0] * side**2)

    def forward(self, *given: Any) -> Distribution:
        (z,) = given
        features = self.linear(z).relu().unflatten(-1, self.smallest)
        numbers = self.convolutions(features)
        found: Distribution = self.distribution(numbers.unflatten(1, (self.distribution.n_parameters, 3)))
        return found


class Predictor(base.Predictor):
    """p(y|z) over the 10 classes; see `base.Predictor`."""

    def __init__(self, z_dim: int, layers: Sequence[int] = (), activation: nn.Module | None = None) -> None:
        super().__init__(z_dim, 10, layers, activation)
