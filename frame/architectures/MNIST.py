"""MLPs for pictures 1 x 28 x 28, MNIST and FashionMNIST; see `frame.architectures.base` for those of any shape."""

from collections.abc import Sequence

from torch import nn

from frame.architectures import base


class Encoder(base.MLPEncoder):
    """q(z|x) with hidden layers `layers`; see `MLPEncoder`."""

    def __init__(
        self,
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        scale_shift: float = 0.0,
        centred: bool = False,
        deterministic: bool = False,
        init: str = "torch",
    ) -> None:
        super().__init__((1, 28, 28), z_dim, layers, activation, scale_shift, centred, deterministic, init)


class Decoder(base.MLPDecoder):
    """p(x|z) with hidden layers `layers`, Bernoulli by default; see `MLPDecoder`."""

    def __init__(
        self,
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        distribution: base.PictureDistribution | None = None,
        init: str = "torch",
    ) -> None:
        super().__init__((1, 28, 28), z_dim, layers, activation, distribution, init)
