"""Generators G(z): decoders with all their mass at one picture."""

from collections.abc import Sequence

from torch import Tensor, nn

from frame.architectures.base import MLPDecoder, PictureDistribution
from frame.architectures.convolutional import ConvDecoder
from frame.architectures.layers import batch_normalised, he
from frame.probability.distributions import Delta


class DeterministicPicture(PictureDistribution):
    """All mass at one picture in (0, 1): turns a decoder into the generator of an adversarial model."""

    def forward(self, numbers: Tensor) -> Delta:
        return Delta(numbers[:, 0].float().sigmoid())


class MLPGenerator(MLPDecoder):
    """z [B, z_dim] -> all mass at one picture, batch_shape (B,), event_shape `shape`; see `MLPDecoder`.

    Hidden layers are normalised over the batch, as in Radford et al. 2016 (1511.06434); without it all z soon give the
    same picture. The pictures of a batch thus depend slightly on each other. First weights are He's.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, from z to x.
        activation: after each hidden layer, ReLU by default.

    Raises:
        UserError: z_dim or a width is not positive.
    """

    def __init__(
        self, shape: Sequence[int], z_dim: int, layers: Sequence[int], activation: nn.Module | None = None
    ) -> None:
        super().__init__(shape, z_dim, layers, activation, DeterministicPicture())
        he(self)
        self.hidden = batch_normalised(self.hidden)


class ConvGenerator(ConvDecoder):
    """`MLPGenerator` with transposed convolutions; see `ConvDecoder`.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers between z and the first feature map.
        channels: of the transposed convolutions, each of which doubles the picture; None: as in `ConvDecoder`.

    Raises:
        UserError: as `ConvDecoder`.
    """

    def __init__(
        self, shape: Sequence[int], z_dim: int, layers: Sequence[int] = (), channels: Sequence[int] | None = None
    ) -> None:
        super().__init__(shape, z_dim, layers, channels, DeterministicPicture())
        he(self)
        self.hidden, self.convolutions = batch_normalised(self.hidden), batch_normalised(self.convolutions)
