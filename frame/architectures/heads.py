"""Heads: the last layer of an encoder, from a backbone's features to a distribution.

Parameters of distributions are float32 also under autocast, and are not validated: both would cost or break the hot
path.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Independent

from frame.common.errors import at_least
from frame.models.base import ConditionalDistribution
from frame.probability.distributions import Delta, diagonal_normal


class Head(ConditionalDistribution):
    """Features [B, n_in] -> a distribution of batch_shape (B,).

    `pooled = False` says that the head reads the backbone's map or tokens themselves, with n_in channels.
    """

    n_in: int
    pooled: bool = True


class DiagonalNormalHead(Head):
    """Features [..., n_in] -> N(mu, diag(sigma^2)), event_shape (z_dim,), sigma = softplus(rho + scale_shift).

    Raises:
        UserError: n_in < 1 or z_dim < 1.
    """

    def __init__(self, n_in: int, z_dim: int, scale_shift: float = 0.0) -> None:
        super().__init__()
        at_least(1, n_in=n_in, z_dim=z_dim)
        self.n_in, self.z_dim = n_in, z_dim
        self.linear = nn.Linear(n_in, 2 * z_dim)
        self.scale_shift = scale_shift

    def forward(self, features: Tensor) -> Independent:
        loc, rho = self.linear(features).float().chunk(2, dim=-1)
        # The small number keeps log(sigma) finite where softplus underflows
        if self.scale_shift:
            rho = rho + self.scale_shift
        return diagonal_normal(loc, F.softplus(rho) + 1e-6)


class DeltaHead(Head):
    """Features [B, n_in] -> all mass at one z, event_shape (z_dim,): the head of a deterministic encoder.

    Raises:
        UserError: n_in < 1 or z_dim < 1.
    """

    def __init__(self, n_in: int, z_dim: int) -> None:
        super().__init__()
        at_least(1, n_in=n_in, z_dim=z_dim)
        self.n_in, self.z_dim = n_in, z_dim
        self.linear = nn.Linear(n_in, z_dim)

    def forward(self, features: Tensor) -> Delta:
        return Delta(self.linear(features).float())


class DeltaMapHead(Head):
    """A map [B, n_in, H, W] -> all mass at a map of vectors, event_shape (z_dim, H, W): for VQ-VAEs.

    Raises:
        UserError: n_in < 1 or z_dim < 1.
    """

    pooled = False

    def __init__(self, n_in: int, z_dim: int) -> None:
        super().__init__()
        at_least(1, n_in=n_in, z_dim=z_dim)
        self.n_in, self.z_dim = n_in, z_dim
        self.convolution = nn.Conv2d(n_in, z_dim, kernel_size=1)

    def forward(self, features: Tensor) -> Delta:
        return Delta(self.convolution(features).float())


class CategoricalHead(Head):
    """Features [..., n_in] -> Categorical over `n_classes`, batch_shape (...).

    Args:
        n_in: features.
        n_classes: K.
        reference: whether the first class has the logit 0, so that there are K - 1 free ones: one for two classes.

    Raises:
        UserError: n_in < 1 or fewer than 2 classes.
    """

    def __init__(self, n_in: int, n_classes: int, reference: bool = False) -> None:
        super().__init__()
        at_least(1, n_in=n_in)
        at_least(2, n_classes=n_classes)
        self.n_in, self.n_classes, self.reference = n_in, n_classes, reference
        self.linear = nn.Linear(n_in, n_classes - reference)

    def forward(self, features: Tensor) -> Categorical:
        logits = self.linear(features).float()
        return Categorical(logits=F.pad(logits, (1, 0)) if self.reference else logits, validate_args=False)
