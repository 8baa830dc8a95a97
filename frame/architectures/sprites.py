"""Networks for pictures 1 x 64 x 64: the convolutional pair that studies of disentanglement use.

Kim & Mnih 2018 (1802.05983), table 1: convolutions of 32, 32, 64, 64 channels and one hidden layer of 128;
Locatello et al. 2019 (1811.12359), table 1 of the supplement: the same with 256, and 2 x 2 kernels in the last two
convolutions, where all are 4 x 4 here. The MLPs of Chen et al. 2018 (1802.04942) are `base.MLPEncoder` and
`base.MLPDecoder` with shape (1, 64, 64).
"""

from collections.abc import Sequence

from frame.architectures import base
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
