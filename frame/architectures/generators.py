"""Generators G(z): decoders with all their mass at one row of x."""

from collections.abc import Sequence

from torch import Tensor, nn

from frame.architectures.base import MLPDecoder, PictureDistribution
from frame.architectures.convolutional import ConvDecoder
from frame.architectures.layers import batch_normalised, he
from frame.probability.distributions import Delta


def in_range(numbers: Tensor, levels: int | None) -> Tensor:
    """Numbers as values of x: between 0 and 1 if x has levels, and any numbers if its values are continuous (None)."""
    return numbers.float() if levels is None else numbers.float().sigmoid()


class DeterministicPicture(PictureDistribution):
    """All mass at one picture: turns a decoder into the generator of an adversarial model; see `in_range`."""

    def __init__(self, levels: int | None = 256) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, numbers: Tensor) -> Delta:
        return Delta(in_range(numbers[:, 0], self.levels))


class MLPGenerator(MLPDecoder):
    """z [B, z_dim] -> all mass at one picture, batch_shape (B,), event_shape `shape`; see `MLPDecoder`.

    Hidden layers are normalised over the batch, as in Radford et al. 2016 (1511.06434); without it all z soon give the
    same picture. The pictures of a batch thus depend slightly on each other. First weights are He's.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, from z to x.
        activation: after each hidden layer, ReLU by default.
        levels: of each value of x, which then lies in (0, 1); None: any number, for continuous values.

    Raises:
        UserError: z_dim or a width is not positive.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        levels: int | None = 256,
    ) -> None:
        super().__init__(shape, z_dim, layers, activation, DeterministicPicture(levels))
        he(self)
        self.hidden = batch_normalised(self.hidden)


class ConvGenerator(ConvDecoder):
    """`MLPGenerator` with transposed convolutions; see `ConvDecoder`.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers between z and the first feature map.
        channels: of the transposed convolutions, each of which doubles the picture; None: as in `ConvDecoder`.
        levels: as in `MLPGenerator`.

    Raises:
        UserError: as `ConvDecoder`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int] = (),
        channels: Sequence[int] | None = None,
        levels: int | None = 256,
    ) -> None:
        super().__init__(shape, z_dim, layers, channels, DeterministicPicture(levels))
        he(self)
        self.hidden, self.convolutions = batch_normalised(self.hidden), batch_normalised(self.convolutions)
