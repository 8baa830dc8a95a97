"""Networks for pictures 1 x 28 x 28: MNIST and FashionMNIST."""

from collections.abc import Sequence

from torch import nn

from frame.architectures import base, convolutional, critics, generators


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


class ConvEncoder(convolutional.ConvEncoder):
    """q(z|x) with convolutions of `channels`, at most two; see `convolutional.ConvEncoder`."""

    def __init__(self, z_dim: int, channels: Sequence[int], layers: Sequence[int], scale_shift: float = 0.0) -> None:
        super().__init__((1, 28, 28), z_dim, channels, layers, scale_shift)


class ConvDecoder(convolutional.ConvDecoder):
    """p(x|z) with transposed convolutions of `channels`, at most two; see `convolutional.ConvDecoder`."""

    def __init__(
        self,
        z_dim: int,
        layers: Sequence[int],
        channels: Sequence[int],
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__((1, 28, 28), z_dim, layers, channels, distribution)


class Generator(generators.MLPGenerator):
    """G(z) with hidden layers `layers`; see `MLPGenerator`."""

    def __init__(self, z_dim: int, layers: Sequence[int], activation: nn.Module | None = None) -> None:
        super().__init__((1, 28, 28), z_dim, layers, activation)


class ConvGenerator(generators.ConvGenerator):
    """G(z) with transposed convolutions of `channels`, at most two; see `generators.ConvGenerator`."""

    def __init__(self, z_dim: int, layers: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__((1, 28, 28), z_dim, layers, channels)


class ConvCritic(critics.ConvCritic):
    """f(x) or d(x) with convolutions of `channels`, at most two; see `critics.ConvCritic`."""

    def __init__(
        self,
        channels: Sequence[int],
        layers: Sequence[int] = (),
        activation: nn.Module | None = None,
        n_out: int = 1,
        batch_norm: bool = False,
    ) -> None:
        super().__init__((1, 28, 28), channels, layers, activation, n_out, batch_norm)


class Predictor(base.Predictor):
    """p(y|z) over the 10 classes; see `base.Predictor`."""

    def __init__(self, z_dim: int, layers: Sequence[int] = (), activation: nn.Module | None = None) -> None:
        super().__init__(z_dim, 10, layers, activation)
