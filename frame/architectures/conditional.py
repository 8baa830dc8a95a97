"""Networks that are given a class beside their input: its one-hot code stands beside the numbers of the input."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from frame.architectures.base import DiagonalNormalHead, MLPDecoder, PictureDistribution
from frame.architectures.layers import mlp, one_hot
from frame.common.errors import at_least
from frame.models.base import ConditionalDistribution


class Encoder(ConditionalDistribution):
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
        super().__init__()
        at_least(1, n_classes=n_classes)
        self.z_dim = z_dim
        self.n_classes = n_classes
        n_in = math.prod(shape) + n_classes
        self.hidden = mlp(n_in, layers, activation)
        self.head = DiagonalNormalHead([n_in, *layers][-1], z_dim)

    def forward(self, *given: Any) -> Independent:
        x, y = given
        return self.head(self.features(x, y))

    def features(self, x: Tensor, y: Tensor) -> Tensor:
        """The last hidden layer, [B, layers[-1]]."""
        return self.hidden(torch.cat([x.flatten(start_dim=1), one_hot(y, self.n_classes)], dim=1))


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
        distribution: PictureDistribution | None = None,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim, n_classes=n_classes)
        self.z_dim = z_dim
        self.n_classes = n_classes
        self.of_both = MLPDecoder(shape, z_dim + n_classes, layers, activation, distribution)

    def forward(self, *given: Any) -> Independent:
        z, y = given
        return self.of_both(torch.cat([z, one_hot(y, self.n_classes)], dim=1))
