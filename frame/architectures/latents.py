"""Distributions of latents given other latents, for models with several layers of them."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Independent

from frame.architectures.heads import DiagonalNormalHead
from frame.architectures.layers import mlp
from frame.common.errors import at_least
from frame.models.base import ConditionalDistribution


class GaussianMLP(ConditionalDistribution):
    """N(mu(v), diag(sigma(v)^2)) over vectors, given vectors: v [..., n_in] -> batch_shape (...), event_shape (z_dim,).

    Args:
        n_in: length of v.
        z_dim: length of the vectors of the distribution.
        layers: widths of the hidden layers.
        activation: after each hidden layer, ReLU by default.
        scale_shift: sigma = softplus(rho + scale_shift).

    Raises:
        UserError: n_in, z_dim or a width is not positive.
    """

    def __init__(
        self,
        n_in: int,
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        scale_shift: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, n_in=n_in)
        self.z_dim = z_dim
        self.hidden = mlp(n_in, layers, activation)
        self.head = DiagonalNormalHead([n_in, *layers][-1], z_dim, scale_shift)

    def forward(self, v: Tensor) -> Independent:
        return self.head(self.hidden(v))
