"""Networks for pictures 1 x 8 x 8 with 17 levels, the smallest that tests train on."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from frame.architectures import base, convolutional, generators

SHAPE = (1, 8, 8)
LEVELS = 17


class Encoder(base.MLPEncoder):
    def __init__(self, z_dim: int, layers: Sequence[int], activation: nn.Module | None = None, **options: Any) -> None:
        super().__init__(SHAPE, z_dim, layers, activation, **options)


class Decoder(base.MLPDecoder):
    def __init__(
        self, z_dim: int, layers: Sequence[int], distribution: base.PictureDistribution | None = None, **options: Any
    ) -> None:
        distribution = distribution or base.DiscretisedLogisticPicture(LEVELS)
        super().__init__(SHAPE, z_dim, layers, distribution=distribution, **options)


class ConvEncoder(convolutional.ConvEncoder):
    def __init__(self, z_dim: int, channels: Sequence[int], layers: Sequence[int]) -> None:
        super().__init__(SHAPE, z_dim, channels, layers)


class ConvDecoder(convolutional.ConvDecoder):
    def __init__(self, z_dim: int, layers: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__(SHAPE, z_dim, layers, channels, base.DiscretisedLogisticPicture(LEVELS))


class Generator(generators.MLPGenerator):
    def __init__(self, z_dim: int, layers: Sequence[int]) -> None:
        super().__init__(SHAPE, z_dim, layers)


class Predictor(base.Predictor):
    def __init__(self, z_dim: int, layers: Sequence[int] = ()) -> None:
        super().__init__(z_dim, 10, layers)
