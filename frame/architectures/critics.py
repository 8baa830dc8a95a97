"""Critics and discriminators: from any number of tensors, side by side, to a number for each row."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from frame.architectures.convolutional import smallest
from frame.architectures.layers import batch_normalised, halving, mlp
from frame.common.errors import at_least


class MLPCritic(nn.Module):
    """Inputs [B, ...], any number of them, are flattened and joined: [B, n_in] -> [B], or [B, n_out] if n_out > 1.

    One critic thus serves codes, pictures, and pairs of them, critic(x, z). The output is a logit: no activation.

    Args:
        n_in: numbers in a row of all inputs together.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.
        n_out: numbers for each row.

    Raises:
        UserError: a number or a width is not positive.
    """

    def __init__(self, n_in: int, layers: Sequence[int], activation: nn.Module | None = None, n_out: int = 1) -> None:
        super().__init__()
        at_least(1, n_in=n_in, n_out=n_out)
        self.n_out = n_out
        self.hidden = mlp(n_in, layers, activation)
        self.linear = nn.Linear([n_in, *layers][-1], n_out)

    def forward(self, *inputs: Tensor) -> Tensor:
        joined = torch.cat([x.flatten(start_dim=1) for x in inputs], dim=-1)
        logits = self.linear(self.hidden(joined)).float()  # float32 also under autocast
        return logits.squeeze(-1) if self.n_out == 1 else logits


class ConvCritic(nn.Module):
    """x [B, *shape] in [0, 1], which enters as 2x - 1 -> [B], or [B, n_out] if n_out > 1; a logit, no activation.

    Args:
        shape: of one picture.
        channels: of the convolutions, each of which halves the picture.
        layers: widths of the hidden layers behind them.
        activation: after each layer, ReLU by default.
        n_out: numbers for each row.
        batch_norm: layers but the first and the last are normalised over the batch, in evaluation by running
            statistics; not for a critic with a gradient penalty, whose rows must not see one another.

    Raises:
        UserError: a number or a width is not positive, or there are more halvings than the picture has.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        layers: Sequence[int] = (),
        activation: nn.Module | None = None,
        n_out: int = 1,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.convolutions = halving(shape[0], channels, activation)
        self.critic = MLPCritic(channels[-1] * math.prod(smallest(shape, channels)), layers, activation, n_out)
        if batch_norm:
            self.convolutions = batch_normalised(self.convolutions, skip=1, momentum=0.1)
            self.critic.hidden = batch_normalised(self.critic.hidden, momentum=0.1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.critic(self.convolutions(2 * x - 1))
        return logits
