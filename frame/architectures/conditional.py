"""Networks of an input and a class, whose one-hot code is appended to the input."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures import base
from frame.architectures.heads import DiagonalNormalHead
from frame.architectures.layers import mlp, one_hot
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


class Decoder(ConditionalDistribution):
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
        super().__init__()
        at_least(1, z_dim=z_dim, n_classes=n_classes)
        self.z_dim = z_dim
        self.n_classes = n_classes
        self.of_both = base.MLPDecoder(shape, z_dim + n_classes, layers, activation, distribution)

    def forward(self, z: Tensor, y: Tensor) -> Distribution:
        return self.of_both(torch.cat([z, one_hot(y, self.n_classes)], dim=1))
