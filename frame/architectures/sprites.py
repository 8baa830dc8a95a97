"""Networks for pictures 1 x 64 x 64: the convolutional pair that studies of disentanglement use.

Kim & Mnih 2018 (1802.05983), table 1: convolutions of 32, 32, 64, 64 channels and one hidden layer of 128;
Locatello et al. 2019 (1811.12359), table 1 of the supplement: the same with 256, and 2 x 2 kernels in the last two
convolutions, where all are 4 x 4 here. The MLPs of Chen et al. 2018 (1802.04942) are `base.MLPEncoder` and
`base.MLPDecoder` with shape (1, 64, 64).
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.distributions import Independent

from frame.architectures import base
from frame.architectures.layers import doubling, halving, mlp
from frame.mistakes import Mistake, at_least
from frame.models.base import ConditionalDistribution


def _smallest(channels: Sequence[int]) -> int:
    """Side of the last feature map: each entry of `channels` halves 64."""
    if not 1 <= len(channels) <= 6:
        raise Mistake(f"channels={list(channels)}: each entry halves the picture of 64, so give 1 to 6 of them")
    return int(64 // 2 ** len(channels))


class Encoder(ConditionalDistribution):
    """q(z|x): x [B, 1, 64, 64] in [0, 1] -> batch_shape (B,), event_shape (z_dim,).

    Args:
        z_dim: number of latents.
        channels: of the convolutions, each of which halves the picture.
        layers: widths of the hidden layers between the last feature map and z.
        scale_shift: sigma = softplus(rho + scale_shift).

    Raises:
        Mistake: z_dim or a width is not positive, or there are more halvings than the picture has.
    """

    def __init__(self, z_dim: int, channels: Sequence[int], layers: Sequence[int], scale_shift: float = 0.0) -> None:
        super().__init__()
        self.z_dim = z_dim
        n_flat = channels[-1] * _smallest(channels) ** 2
        self.convolutions = halving(1, channels)
        self.hidden = mlp(n_flat, layers)
        self.head = base.DiagonalNormalHead([n_flat, *layers][-1], z_dim, scale_shift)

    def forward(self, *given: Any) -> Independent:
        (x,) = given
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer, [B, layers[-1]]."""
        return self.hidden(self.convolutions(x).flatten(start_dim=1))


class Decoder(ConditionalDistribution):
    """p(x|z): z [B, z_dim] -> batch_shape (B,), event_shape (1, 64, 64).

    Args:
        z_dim: number of latents.
        layers: widths of the hidden layers between z and the first feature map.
        channels: of the transposed convolutions, each of which doubles the picture.
        distribution: of the values, Bernoulli by default.

    Raises:
        Mistake: z_dim or a width is not positive, or there are more doublings than the picture has.
    """

    def __init__(
        self,
        z_dim: int,
        layers: Sequence[int],
        channels: Sequence[int],
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.distribution = distribution or base.BernoulliPicture()
        side = _smallest(channels)
        self.smallest = (channels[0], side, side)
        self.hidden = mlp(z_dim, [*layers, channels[0] * side**2])
        self.convolutions = doubling(channels, self.distribution.n_parameters)

    def forward(self, *given: Any) -> Independent:
        (z,) = given
        numbers = self.convolutions(self.hidden(z).unflatten(-1, self.smallest))
        return self.distribution(numbers.unflatten(1, (self.distribution.n_parameters, 1)))
