"""Networks for pictures 1 x 64 x 64: the convolutional pair that studies of disentanglement use.

Kim & Mnih 2018 (1802.05983), table 1: convolutions of 32, 32, 64, 64 channels and one hidden layer of 128;
Locatello et al. 2019 (1811.12359), table 1 of the supplement: the same with 256, and 2 x 2 kernels in the last two
convolutions; here all are 4 x 4. Chen et al. 2018 (1802.04942) have MLPs: 1200, 1200 (ReLU) and
1200, 1200, 1200 (tanh).
"""

from collections.abc import Sequence

from torch import nn

from frame.architectures import base, critics, generators
from frame.architectures.convolutional import ConvDecoder, ConvEncoder

SHAPE = (1, 64, 64)


class Encoder(ConvEncoder):
    """q(z|x); see `ConvEncoder`."""

    def __init__(self, z_dim: int, channels: Sequence[int], layers: Sequence[int], scale_shift: float = 0.0) -> None:
        super().__init__(SHAPE, z_dim, channels, layers, scale_shift)


class Decoder(ConvDecoder):
    """p(x|z), Bernoulli by default; see `ConvDecoder`."""

    def __init__(
        self,
        z_dim: int,
        layers: Sequence[int],
        channels: Sequence[int],
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__(SHAPE, z_dim, layers, channels, distribution)


class MLPEncoder(base.MLPEncoder):
    """q(z|x) with hidden layers `layers`; see `base.MLPEncoder`."""

    def __init__(self, z_dim: int, layers: Sequence[int], activation: nn.Module | None = None) -> None:
        super().__init__(SHAPE, z_dim, layers, activation)


class MLPDecoder(base.MLPDecoder):
    """p(x|z) with hidden layers `layers`, Bernoulli by default; see `base.MLPDecoder`."""

    def __init__(
        self,
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__(SHAPE, z_dim, layers, activation, distribution)


class ConvGenerator(generators.ConvGenerator):
    """G(z) with transposed convolutions of `channels`, at most six; see `generators.ConvGenerator`."""

    def __init__(self, z_dim: int, layers: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__(SHAPE, z_dim, layers, channels)


class ConvCritic(critics.ConvCritic):
    """f(x) or d(x) with convolutions of `channels`, at most six; see `critics.ConvCritic`."""

    def __init__(
        self, channels: Sequence[int], layers: Sequence[int] = (), activation: nn.Module | None = None, n_out: int = 1
    ) -> None:
        super().__init__(SHAPE, channels, layers, activation, n_out)
