"""BiGAN's networks for permutation-invariant pictures: MLPs, normalised over the batch, without biases.

Donahue et al. 2017, "Adversarial feature learning" (1605.09782), section 4.1 and the authors' code. Normalised layers
have mean 0 and variance 1 and are neither scaled nor shifted. With scales, shifts or biases the discriminator soon
tells all pairs apart, and the encoder gets worse (docs/log.md). First weights are torch's, about as large as the
paper's N(0, 0.02^2).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.architectures import base
from frame.architectures.generators import in_range
from frame.architectures.heads import Head
from frame.architectures.layers import BatchNorm, check_widths
from frame.common.errors import at_least
from frame.models.base import ConditionalDistribution
from frame.probability.distributions import Delta


class Normalised(nn.Module):
    """act(BN(W h)), [B, n_in] -> [B, n_out]; see `BatchNorm` for `momentum`."""

    def __init__(self, n_in: int, n_out: int, slope: float = 0.0, momentum: float | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=False)
        self.norm = BatchNorm(n_out, affine=False, momentum=momentum)
        self.slope = slope

    def forward(self, h: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.linear(h)), self.slope)


class Conditioned(nn.ModuleList):
    """Normalised layers that each read z, too: h [B, layers[0]], z [B, z_dim] -> [B, layers[-1]]."""

    def __init__(self, layers: Sequence[int], z_dim: int, slope: float = 0.0) -> None:
        super().__init__(Normalised(n_in + z_dim, n_out, slope) for n_in, n_out in pairwise(layers))

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        for layer in self:
            h = layer(torch.cat([h, z], dim=1))
        return h


class CubeHead(Head):
    """Features [B, n_in] -> all mass at z = 2 sigmoid(W h) - 1, which lies in the cube of the prior U[-1, 1]."""

    def __init__(self, n_in: int, z_dim: int) -> None:
        super().__init__()
        at_least(1, n_in=n_in, z_dim=z_dim)
        self.n_in, self.z_dim = n_in, z_dim
        self.linear = nn.Linear(n_in, z_dim, bias=False)

    def forward(self, features: Tensor) -> Delta:
        return Delta(2 * self.linear(features).float().sigmoid() - 1)


class Encoder(base.Encoder):
    """E(x): x [B, *shape] -> all mass at one z, batch_shape (B,), event_shape (z_dim,); see `CubeHead`.

    Hidden layers but the first are normalised, in evaluation by running statistics.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, from x to z; one or more.

    Raises:
        UserError: z_dim or a width is not positive.
    """

    def __init__(self, shape: Sequence[int], z_dim: int, layers: Sequence[int]) -> None:
        check_widths("layers", layers, least=1)
        first = nn.Linear(math.prod(shape), layers[0], bias=False)
        hidden = [Normalised(n_in, n_out, 0.2, momentum=0.1) for n_in, n_out in pairwise(layers)]
        backbone = nn.Sequential(nn.Flatten(), first, nn.LeakyReLU(0.2), *hidden)
        super().__init__(backbone, CubeHead(layers[-1], z_dim))


class Generator(ConditionalDistribution):
    """G(z): z [B, z_dim] -> all mass at one picture, batch_shape (B,), event_shape `shape`.

    Each hidden layer reads z. All are normalised over the batch, also in evaluation, so the pictures of a batch depend
    slightly on each other.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, from z to x; one or more.
        levels: of each value of x, which then lies in (0, 1); None: any number, for continuous values.

    Raises:
        UserError: z_dim or a width is not positive.
    """

    def __init__(self, shape: Sequence[int], z_dim: int, layers: Sequence[int], levels: int | None = 256) -> None:
        super().__init__()
        check_widths("layers", layers, least=1)
        at_least(1, z_dim=z_dim)
        self.z_dim, self.shape, self.levels = z_dim, tuple(shape), levels
        self.first = Normalised(z_dim, layers[0])
        self.hidden = Conditioned(layers, z_dim)
        self.linear = nn.Linear(layers[-1], math.prod(shape), bias=False)

    def forward(self, z: Tensor) -> Delta:
        h = self.hidden(self.first(z), z)
        return Delta(in_range(self.linear(h), self.levels).unflatten(1, self.shape))


class Discriminator(nn.Module):
    """d(x, z), a logit: x [B, *shape], z [B, z_dim] -> [B].

    The first hidden layer reads x alone. The later ones read z, too, and are normalised, also in evaluation.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, two or more: the first does not read z.

    Raises:
        UserError: z_dim or a width is not positive, or there are fewer than two layers.
    """

    def __init__(self, shape: Sequence[int], z_dim: int, layers: Sequence[int]) -> None:
        super().__init__()
        check_widths("layers", layers, least=2)
        at_least(1, z_dim=z_dim)
        self.first = nn.Linear(math.prod(shape), layers[0], bias=False)
        self.hidden = Conditioned(layers, z_dim, 0.2)
        self.linear = nn.Linear(layers[-1], 1, bias=False)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        h = self.hidden(F.leaky_relu(self.first(x.flatten(start_dim=1)), 0.2), z)
        found: Tensor = self.linear(h).float()
        return found[:, 0]
