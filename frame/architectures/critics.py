"""Critics and discriminators: one or several tensors -> a number for each row."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from frame.architectures.base import MLPEncoder
from frame.architectures.convolutional import default_channels, smallest
from frame.architectures.layers import batch_normalised, halving, mlp
from frame.common.errors import at_least
from frame.common.sizes import Size, n_values
from frame.probability.estimators import Conditional


class MLPCritic(nn.Module):
    """One or several inputs [B, ...], flattened and concatenated to [B, n_in] -> [B], or [B, n_out] if n_out > 1.

    It serves codes, pictures, and pairs of them, critic(x, z). The output is a logit: no activation.

    Args:
        n_in: numbers in a row of all inputs together, or the shape of the only input.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.
        n_out: numbers for each row.

    Raises:
        UserError: a number or a width is not positive.
    """

    def __init__(self, n_in: Size, layers: Sequence[int], activation: nn.Module | None = None, n_out: int = 1) -> None:
        super().__init__()
        n_in = n_values(n_in=n_in)
        at_least(1, n_out=n_out)
        self.n_out = n_out
        self.hidden = mlp(n_in, layers, activation)
        self.linear = nn.Linear([n_in, *layers][-1], n_out)

    def forward(self, *inputs: Tensor) -> Tensor:
        joined = torch.cat([x.flatten(start_dim=1) for x in inputs], dim=-1)
        logits = self.linear(self.hidden(joined)).float()  # float32 also under autocast
        return logits.squeeze(-1) if self.n_out == 1 else logits


class JointCritic(MLPCritic):
    """f(x, y), an MLP on both, concatenated: [B, ...] and [B, ...] -> [B].

    Args:
        n_x, n_y: numbers in a row of each, or its shape.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.

    Raises:
        UserError: a number or a width is not positive.
    """

    def __init__(self, n_x: Size, n_y: Size, layers: Sequence[int], activation: nn.Module | None = None) -> None:
        super().__init__(n_values(n_x=n_x) + n_values(n_y=n_y), layers, activation)


class SeparableCritic(nn.Module):
    """f(x, y) = g(x) . h(y), two MLPs: all B^2 pairs need only 2 B rows.

    Args:
        n_x, n_y: numbers in a row of each, or its shape.
        layers: widths of the hidden layers of g, and of h.
        n_embedding: size of g(x) and of h(y).
        activation: after each hidden layer, ReLU by default.

    Raises:
        UserError: a number or a width is not positive.
    """

    def __init__(
        self, n_x: Size, n_y: Size, layers: Sequence[int], n_embedding: int = 32, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        n_x, n_y = n_values(n_x=n_x), n_values(n_y=n_y)
        at_least(1, n_embedding=n_embedding)
        self.g = nn.Sequential(mlp(n_x, layers, activation), nn.Linear([n_x, *layers][-1], n_embedding))
        self.h = nn.Sequential(mlp(n_y, layers, activation), nn.Linear([n_y, *layers][-1], n_embedding))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.g(x.flatten(1)).float() * self.h(y.flatten(1)).float()).sum(-1)

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """[B, B]: row i has f(x_i, y_j) for all j."""
        g, h = self.g(x.flatten(1)).float(), self.h(y.flatten(1)).float()
        with torch.autocast(x.device.type, enabled=False):  # otherwise the product, the losses and e^f are bfloat16
            return g @ h.T


class ConvCritic(nn.Module):
    """x [B, *shape] in [0, 1], which enters as 2x - 1 -> [B], or [B, n_out] if n_out > 1; a logit, no activation.

    Args:
        shape: of one picture.
        channels: of the convolutions, each of which halves the picture; None: see `default_channels`.
        layers: widths of the hidden layers behind them.
        activation: after each layer, ReLU by default.
        n_out: numbers for each row.
        batch_norm: whether all layers but the first and the last are normalised over the batch, in evaluation by
            running statistics; not for a critic with a gradient penalty, whose rows must be independent.

    Raises:
        UserError: a number or a width is not positive, `shape` is not [C, H, W], or its sides cannot be halved so
            often.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] | None = None,
        layers: Sequence[int] = (),
        activation: nn.Module | None = None,
        n_out: int = 1,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        channels = default_channels(shape) if channels is None else channels
        side = smallest(shape, channels)
        self.convolutions = halving(shape[0], channels, activation)
        self.critic = MLPCritic(channels[-1] * math.prod(side), layers, activation, n_out)
        if batch_norm:
            self.convolutions = batch_normalised(self.convolutions, skip=1, momentum=0.1)
            self.critic.hidden = batch_normalised(self.critic.hidden, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.critic(self.convolutions(2 * x - 1))
        return logits


class JointConvCritic(nn.Module):
    """f(x, z) of pictures x [B, *shape] in [0, 1], which enter as 2x - 1, and codes z [B, z_dim] -> [B], a logit.

    Convolutions read x; an MLP reads their output and z.

    Args:
        shape: of one picture.
        z_dim: length of z.
        channels: of the convolutions, each of which halves the picture; None: see `default_channels`.
        layers: widths of the hidden layers of the MLP.
        activation: after each layer, ReLU by default.

    Raises:
        UserError: as `ConvCritic`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        channels: Sequence[int] | None = None,
        layers: Sequence[int] = (),
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        channels = default_channels(shape) if channels is None else channels
        side = smallest(shape, channels)
        self.convolutions = halving(shape[0], channels, activation)
        self.critic = MLPCritic(channels[-1] * math.prod(side) + z_dim, layers, activation)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        logits: Tensor = self.critic(self.convolutions(2 * x - 1), z)
        return logits


class GaussianConditional(Conditional):
    """log q(y|x) of N(mu(x), diag(sigma(x)^2)), an MLP.

    Args:
        n_x, n_y: numbers in a row of each, or its shape.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.

    Raises:
        UserError: a number or a width is not positive.
    """

    def __init__(self, n_x: Size, n_y: Size, layers: Sequence[int], activation: nn.Module | None = None) -> None:
        super().__init__(MLPEncoder((n_values(n_x=n_x),), n_values(n_y=n_y), layers, activation))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(x, y.flatten(start_dim=1))

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        return super().matrix(x, y.flatten(start_dim=1))
