"""Samples and divergences of distributions, vectorisable ones."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal


class Delta(Distribution):
    """All mass at `loc` [B, *event]: what a deterministic encoder returns."""

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc
        super().__init__(loc.shape[:1], loc.shape[1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Delta":
        return Delta(self.loc.expand(*batch_shape, *self.event_shape))


def rsample(distribution: Distribution, sample_shape: tuple[int, ...] = ()) -> Tensor:
    """A reparametrised sample, shape sample_shape + batch_shape + event_shape.

    Gaussian noise is drawn by `randn_like`, because the in-place noise inside `Normal.rsample` cannot be vectorised.
    """
    base = distribution.base_dist if isinstance(distribution, Independent) else distribution
    if isinstance(base, Normal):
        # z = mu + sigma * eps
        return base.loc + base.scale * torch.randn_like(base.loc.expand(*sample_shape, *base.loc.shape))
    return distribution.rsample(sample_shape)


def kl_divergence(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p) in nats, the shape of q.log_prob(z) or broadcastable with it; z is a sample of q.

    Analytic where both are diagonal Gaussians, else the one-sample estimate log q(z) - log p(z).
    """
    if _is_diagonal_normal(q) and _is_diagonal_normal(p):
        return torch.distributions.kl_divergence(q, p)
    return q.log_prob(z) - p.log_prob(z)


def _is_diagonal_normal(distribution: Distribution) -> bool:
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)
