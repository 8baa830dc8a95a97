"""Divergences: the Kullback-Leibler divergence, and the maximum mean discrepancy of two samples.

MMD: Gretton et al. 2012, "A kernel two-sample test" (JMLR 13), eq. 3 (unbiased) and eq. 5 (biased). The kernels are
those of Tolstikhin et al. 2018, "Wasserstein auto-encoders" (1711.01558), section 4.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torch.distributions.kl import register_kl

from frame.common.errors import UserError
from frame.probability.distributions import IndependentNormal, StandardNormal, summed

Kernel = Callable[[Tensor], Tensor]  # a function of squared distances that is 1 at 0


def kl_divergence(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p) in nats, the shape of q.log_prob(z) or broadcastable with it; z is a sample of q.

    Analytic if both are diagonal Gaussians, otherwise the one-sample estimate log q(z) - log p(z).
    """
    if isinstance(q, IndependentNormal) and isinstance(p, IndependentNormal):
        return kl_of_normals(q, p)
    if _is_diagonal_normal(q) and _is_diagonal_normal(p):
        return torch.distributions.kl_divergence(q, p)
    return q.log_prob(z) - p.log_prob(z)


@register_kl(IndependentNormal, IndependentNormal)
def kl_of_normals(q: IndependentNormal, p: IndependentNormal) -> Tensor:
    """KL(q || p) in nats, the batch shape of both.

    Raises:
        ValueError: they have different event dimensions.
    """
    n_dims = q.reinterpreted_batch_ndims
    if p.reinterpreted_batch_ndims != n_dims:
        raise ValueError(f"the events of q and p have {n_dims} and {p.reinterpreted_batch_ndims} dimensions")
    mu, sigma = q.base_dist.loc, q.base_dist.scale
    if not isinstance(p, StandardNormal):
        mu, sigma = (mu - p.base_dist.loc) / p.base_dist.scale, sigma / p.base_dist.scale
    # sum over d of (mu^2 + sigma^2 - 1) / 2 - log sigma, in units of p's scale
    terms = torch.addcmul(mu.square() - 1, sigma, sigma).sub(sigma.log(), alpha=2)
    return 0.5 * summed(terms, n_dims)


def _is_diagonal_normal(distribution: Distribution) -> bool:
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)


def rbf(squared_distance: Tensor, width: float) -> Tensor:
    """exp(-d^2 / width); a Gaussian of scale s has width = 2 s^2."""
    return (-squared_distance / width).exp()


def imq(squared_distance: Tensor, width: float) -> Tensor:
    """width / (width + d^2), the inverse multiquadric: its heavier tails have a gradient for distant codes, too."""
    return width / (width + squared_distance)


def mmd(x: Tensor, y: Tensor, kernel: Kernel, biased: bool = False) -> Tensor:
    """Squared MMD of samples x [N, D] and y [M, D], shape (): E k(x, x') + E k(y, y') - 2 E k(x, y).

    Unbiased: a U-statistic without pairs of a row and itself; it may be negative, and its mean is 0 if both samples are
    from one distribution. Biased: a V-statistic of all pairs, never negative. Memory N * M * D.

    Raises:
        UserError: unbiased, and a sample has one row.
    """
    if not biased and min(len(x), len(y)) < 2:
        raise UserError("the unbiased MMD needs two or more rows: choose a batch_size that leaves no batch of one row")
    if biased:
        within = kernel(distances(x, x)).mean() + kernel(distances(y, y)).mean()
    else:
        within = _off_diagonal_mean(kernel(distances(x, x))) + _off_diagonal_mean(kernel(distances(y, y)))
    return within - 2 * kernel(distances(x, y)).mean()


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances [N, M], from differences, because |x|^2 + |y|^2 - 2 xy would round small ones."""
    return (x.unsqueeze(1) - y.unsqueeze(0)).square().sum(-1)


def _off_diagonal_mean(matrix: Tensor) -> Tensor:
    n = len(matrix)
    return (matrix.sum() - matrix.diagonal().sum()) / (n * (n - 1))
