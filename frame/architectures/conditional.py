"""Networks of an input and a class, whose one-hot code is appended to the input.

As in Kingma et al. 2014, "Semi-supervised learning with deep generative models" (1406.5298), whose MLPs read both;
convolutions read the code as planes of 0 and 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures import base, convolutional
from frame.architectures.heads import DiagonalNormalHead
from frame.architectures.layers import mlp, one_hot, picture
from frame.common.errors import at_least
from frame.models.base import ConditionalDistribution


class ClassBackbone(nn.Module):
    """x [B, *shape] and y [B] -> the last hidden layer of an MLP on both, [B, n_out].

    Args:
        shape: of one picture.
        n_classes: y is in 0 .. n_classes - 1.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.

    Raises:
        UserError: n_classes or a width is not positive.
    """

    def __init__(
        self, shape: Sequence[int], n_classes: int, layers: Sequence[int], activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        at_least(1, n_classes=n_classes)
        self.n_classes = n_classes
        n_in = math.prod(shape) + n_classes
        self.hidden = mlp(n_in, layers, activation)
        self.n_out = [n_in, *layers][-1]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.hidden(torch.cat([x.flatten(start_dim=1), one_hot(y, self.n_classes)], dim=1))


class ConvClassBackbone(nn.Module):
    """x [B, C, H, W] and y [B] -> [B, n_out], by a `ConvBackbone` of x and n_classes planes, one of which is 1.

    Args:
        shape: of one picture.
        n_classes: y is in 0 .. n_classes - 1.
        channels, layers: as in `ConvBackbone`.

    Raises:
        UserError: n_classes is not positive, or as in `ConvBackbone`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_classes: int,
        channels: Sequence[int] | None = None,
        layers: Sequence[int] = (),
    ) -> None:
        super().__init__()
        n_in, height, width = picture(shape)
        at_least(1, n_classes=n_classes)
        self.n_classes = n_classes
        self.of_both = convolutional.ConvBackbone((n_in + n_classes, height, width), channels, layers)
        self.n_out = self.of_both.n_out

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        planes = one_hot(y, self.n_classes)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        found: Tensor = self.of_both(torch.cat([x, planes], dim=1))
        return found


class Encoder(base.Encoder):
    """q(z|x, y) = N(mu(x, y), diag(sigma(x, y)^2)): x [B, *shape], y [B] -> batch_shape (B,), event_shape (z_dim,).

    Args:
        shape: of one picture.
        n_classes: y is in 0 .. n_classes - 1.
        z_dim: number of latents.
        layers: widths of the hidden layers, from x to z.
        activation: after each hidden layer, ReLU by default.

    Raises:
        UserError: z_dim, n_classes or a width is not positive.
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_classes: int,
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
    ) -> None:
        backbone = ClassBackbone(shape, n_classes, layers, activation)
        super().__init__(backbone, DiagonalNormalHead(backbone.n_out, z_dim))
        self.n_classes = n_classes


class ConvEncoder(base.Encoder):
    """`Encoder` for pictures, with a `ConvClassBackbone`.

    Args:
        shape: of one picture.
        n_classes: y is in 0 .. n_classes - 1.
        z_dim: number of latents.
        channels, layers: as in `ConvBackbone`.

    Raises:
        UserError: z_dim or n_classes is not positive, or as in `ConvBackbone`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_classes: int,
        z_dim: int,
        channels: Sequence[int] | None = None,
        layers: Sequence[int] = (),
    ) -> None:
        backbone = ConvClassBackbone(shape, n_classes, channels, layers)
        super().__init__(backbone, DiagonalNormalHead(backbone.n_out, z_dim))
        self.n_classes = n_classes


class OfBoth(ConditionalDistribution):
    """p(x|z, y), by a decoder of z and the one-hot code of y: z [B, z_dim], y [B] -> batch_shape (B,)."""

    z_dim: int
    n_classes: int
    of_both: ConditionalDistribution

    def __init__(self, n_classes: int, z_dim: int) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim, n_classes=n_classes)
        self.z_dim, self.n_classes = z_dim, n_classes

    def forward(self, z: Tensor, y: Tensor) -> Distribution:
        found: Distribution = self.of_both(torch.cat([z, one_hot(y, self.n_classes)], dim=1))
        return found


class Decoder(OfBoth):
    """p(x|z, y): z [B, z_dim], y [B] -> batch_shape (B,), event_shape `shape`.

    Args:
        shape: of one picture.
        n_classes: y is in 0 .. n_classes - 1.
        z_dim: number of latents.
        layers: widths of the hidden layers, from z to x.
        activation: after each hidden layer, ReLU by default.
        distribution: of the values, Bernoulli by default.

    Raises:
        UserError: z_dim, n_classes or a width is not positive.
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_classes: int,
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__(n_classes, z_dim)
        self.of_both = base.MLPDecoder(shape, z_dim + n_classes, layers, activation, distribution)


class ConvDecoder(OfBoth):
    """`Decoder` for pictures, with a `convolutional.ConvDecoder`.

    Args:
        shape: of one picture.
        n_classes: y is in 0 .. n_classes - 1.
        z_dim: number of latents.
        layers, channels: as in `convolutional.ConvDecoder`.
        distribution: of the values, Bernoulli by default.

    Raises:
        UserError: z_dim or n_classes is not positive, or as in `convolutional.ConvDecoder`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_classes: int,
        z_dim: int,
        layers: Sequence[int] = (),
        channels: Sequence[int] | None = None,
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__(n_classes, z_dim)
        self.of_both = convolutional.ConvDecoder(shape, z_dim + n_classes, layers, channels, distribution)
