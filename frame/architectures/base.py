"""What all architectures share: priors, the heads that turn numbers into distributions, encoders and decoders of MLPs.

Parameters of distributions are float32 also under autocast, and are not validated: both cost or break the hot path.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal, Uniform

from frame.architectures.layers import mlp, start
from frame.common.errors import UserError, at_least
from frame.models.base import ConditionalDistribution
from frame.probability.distributions import CategoricalLevels, Delta, DiscretisedLogistic


def diagonal_normal(loc: Tensor, scale: Tensor) -> Independent:
    """N(loc, diag(scale^2)): the last dimension is the event."""
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


class DiagonalNormal(ConditionalDistribution):
    """The prior p(z) = N(0, I); nothing is learned. forward() has batch_shape (), which broadcasts with any q(z|x).

    Raises:
        UserError: z_dim < 1.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.register_buffer("loc", torch.zeros(z_dim))
        self.register_buffer("scale", torch.ones(z_dim))

    def forward(self, *given: Any) -> Independent:
        return diagonal_normal(self.loc, self.scale)


class UniformCube(ConditionalDistribution):
    """The prior p(z) = U[-1, 1]^z_dim, called like `DiagonalNormal`.

    Raises:
        UserError: z_dim < 1.
    """

    high: Tensor

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.register_buffer("high", torch.ones(z_dim))

    def forward(self, *given: Any) -> Independent:
        return Independent(Uniform(-self.high, self.high, validate_args=False), 1, validate_args=False)


class DiagonalNormalHead(nn.Module):
    """The last layer of an encoder: features [..., n_in] -> N(mu, diag(sigma^2)), sigma = softplus(rho + scale_shift).

    Raises:
        UserError: z_dim < 1.
    """

    def __init__(self, n_in: int, z_dim: int, scale_shift: float = 0.0) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.linear = nn.Linear(n_in, 2 * z_dim)
        self.scale_shift = scale_shift

    def forward(self, features: Tensor) -> Independent:
        loc, rho = self.linear(features).float().chunk(2, dim=-1)
        # The small number keeps log(sigma) finite where softplus underflows
        return diagonal_normal(loc, F.softplus(rho + self.scale_shift) + 1e-6)


class DeltaHead(nn.Module):
    """The last layer of a deterministic encoder: features [B, n_in] -> all mass at one z [B, z_dim].

    Raises:
        UserError: z_dim < 1.
    """

    def __init__(self, n_in: int, z_dim: int) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.linear = nn.Linear(n_in, z_dim)

    def forward(self, features: Tensor) -> Delta:
        return Delta(self.linear(features).float())


class PictureDistribution(nn.Module):
    """The last step of a decoder: numbers [B, n_parameters, *shape] -> p(x|z) with event_shape `shape`, x in [0, 1]."""

    n_parameters: int = 1

    def values(self, numbers: Tensor) -> Distribution:
        """The distribution of each value by itself, batch_shape (B, *shape)."""
        raise NotImplementedError

    def forward(self, numbers: Tensor) -> Distribution:
        return Independent(self.values(numbers.float()), numbers.dim() - 2, validate_args=False)


class BernoulliPicture(PictureDistribution):
    """Values 0 or 1. On grey values its log-probability is a cross-entropy and no likelihood: binarize the data."""

    def values(self, numbers: Tensor) -> Bernoulli:
        return Bernoulli(logits=numbers[:, 0], validate_args=False)


class NormalPicture(PictureDistribution):
    """Values around a mean, all with the same fixed scale: a density, so not comparable with the discrete ones.

    Args:
        scale: the standard deviation.
        loc_shift: added to the network's output; 0.5 starts at mid-grey.

    Raises:
        UserError: scale is not positive.
    """

    def __init__(self, scale: float = 1.0, loc_shift: float = 0.0) -> None:
        super().__init__()
        if not scale > 0:
            raise UserError(f"scale={scale}: it must be positive")
        self.scale = scale
        self.loc_shift = loc_shift

    def values(self, numbers: Tensor) -> Normal:
        loc = numbers[:, 0] + self.loc_shift
        return Normal(loc, torch.full_like(loc, self.scale), validate_args=False)


class CategoricalPicture(PictureDistribution):
    """Each value is one of `levels`, each level with a probability of its own.

    Raises:
        UserError: fewer than 2 levels.
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        at_least(2, levels=levels)
        self.n_parameters = levels

    def values(self, numbers: Tensor) -> CategoricalLevels:
        return CategoricalLevels(numbers.movedim(1, -1))


class DiscretisedLogisticPicture(PictureDistribution):
    """Each value is one of `levels`, by a rounded logistic variable with a location and a scale of its own.

    Raises:
        UserError: fewer than 2 levels.
    """

    n_parameters = 2

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        at_least(2, levels=levels)
        self.levels = levels

    def values(self, numbers: Tensor) -> DiscretisedLogistic:
        # Starts at mid-grey with a scale of about 0.1; a tenth of a level is as sharp as it gets
        scale = F.softplus(numbers[:, 1] - 2.25) + 0.1 / (self.levels - 1)
        return DiscretisedLogistic(numbers[:, 0] + 0.5, scale, self.levels)


class MLPEncoder(ConditionalDistribution):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): x [B, *shape] in [0, 1] -> batch_shape (B,), event_shape (z_dim,).

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, from x to z.
        activation: after each hidden layer, ReLU by default.
        scale_shift: sigma = softplus(rho + scale_shift).
        centred: x enters as 2x - 1.
        deterministic: all mass at mu(x); there is no sigma.
        init: first weights of the hidden layers: 'torch', 'he' or 'glorot'.

    Raises:
        UserError: z_dim or a width is not positive, or an unknown `init`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        scale_shift: float = 0.0,
        centred: bool = False,
        deterministic: bool = False,
        init: str = "torch",
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.centred = centred
        n_in = math.prod(shape)
        self.hidden = mlp(n_in, layers, activation)
        start(self.hidden, init)
        width = [n_in, *layers][-1]
        self.head = DeltaHead(width, z_dim) if deterministic else DiagonalNormalHead(width, z_dim, scale_shift)

    def forward(self, *given: Any) -> Distribution:
        (x,) = given
        found: Distribution = self.head(self.features(x))
        return found

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer, [B, layers[-1]]."""
        if self.centred:
            x = 2 * x - 1
        return self.hidden(x.flatten(start_dim=1))


class MLPDecoder(ConditionalDistribution):
    """p(x|z): z [B, z_dim] -> batch_shape (B,), event_shape `shape`.

    Args:
        shape: of one picture.
        z_dim: number of latents.
        layers: widths of the hidden layers, from z to x.
        activation: after each hidden layer, ReLU by default.
        distribution: of the values, Bernoulli by default.
        init: first weights of the hidden layers: 'torch', 'he' or 'glorot'.

    Raises:
        UserError: z_dim or a width is not positive, or an unknown `init`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int],
        activation: nn.Module | None = None,
        distribution: PictureDistribution | None = None,
        init: str = "torch",
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        self.z_dim = z_dim
        self.shape = tuple(shape)
        self.distribution = distribution or BernoulliPicture()
        self.hidden = mlp(z_dim, layers, activation)
        start(self.hidden, init)
        self.linear = nn.Linear([z_dim, *layers][-1], self.distribution.n_parameters * math.prod(shape))

    def forward(self, *given: Any) -> Distribution:
        (z,) = given
        numbers = self.linear(self.hidden(z))
        found: Distribution = self.distribution(numbers.unflatten(-1, (self.distribution.n_parameters, *self.shape)))
        return found


class Predictor(ConditionalDistribution):
    """p(y|z): z [..., z_dim] -> Categorical over `n_classes`, batch_shape (...); linear unless `layers` are given.

    Raises:
        UserError: z_dim or a width is not positive, or fewer than 2 classes.
    """

    def __init__(
        self, z_dim: int, n_classes: int = 10, layers: Sequence[int] = (), activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        at_least(2, n_classes=n_classes)
        self.z_dim = z_dim
        self.hidden = mlp(z_dim, layers, activation)
        self.linear = nn.Linear([z_dim, *layers][-1], n_classes)

    def forward(self, *given: Any) -> Categorical:
        (z,) = given
        return Categorical(logits=self.linear(self.hidden(z)).float(), validate_args=False)
