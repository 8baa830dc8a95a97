"""Variance, invariance and covariance of embeddings, without negatives and without a teacher.

Bardes et al. 2021, "VICReg: variance-invariance-covariance regularization" (2105.04906), eq. 1 to 6.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.common.ranks import all_rows
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, product, two_views


class VICReg(JointEmbeddingModel):
    """loss = invariance * s(Z, Z') + variance * (v(Z) + v(Z')) + covariance * (c(Z) + c(Z')).

    Z and Z' are the embeddings of both views, the rows of all ranks. The three terms are logged, too. s is a mean over
    the dimensions as well, as in the paper's algorithm 1, for which its weights are chosen; eq. 5 has their sum.

    Args:
        encoder: f; its head is removed.
        projector: g, the paper's expander.
        invariance: lambda, 25 in the paper.
        variance: mu, 25.
        covariance: nu, 1.
        target: gamma, the least standard deviation of a dimension that costs nothing.
        eps: added to the variances, so that their square root has a gradient.

    Raises:
        UserError: a weight, the target or eps is negative, or as `JointEmbeddingModel`; from the loss, there are not
            two views.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | partial[Any],
        invariance: float | Coefficient,
        variance: float | Coefficient,
        covariance: float | Coefficient,
        target: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__(encoder, projector)
        at_least(0, target=target, eps=eps)
        self.invariance = coefficient("invariance", invariance)
        self.variance = coefficient("variance", variance)
        self.covariance = coefficient("covariance", covariance)
        self.target, self.eps = target, eps

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z1, z2 = (all_rows(self.embed(view)) for view in two_views(batch))  # [N, z_dim]
        # s = 1/N sum_i |z_i - z'_i|^2, over z_dim
        invariance = (z1 - z2).square().mean()
        variance = hinge(z1, self.target, self.eps) + hinge(z2, self.target, self.eps)
        covariance = off_diagonal(z1) + off_diagonal(z2)
        loss = self.invariance() * invariance + self.variance() * variance + self.covariance() * covariance
        return {"loss": loss, "invariance": invariance, "variance": variance, "covariance": covariance}


def hinge(z: Tensor, target: float, eps: float) -> Tensor:
    """v(Z), shape (): how far standard deviations of the columns of z [N, D] fall below the target."""
    # v = 1/D sum_j max(0, gamma - sqrt(Var(z_j) + eps))
    return (target - (z.var(0) + eps).sqrt()).relu().mean()


def off_diagonal(z: Tensor) -> Tensor:
    """c(Z), shape (): the sum of the squared covariances of different columns of z [N, D], over D."""
    z = z - z.mean(0)
    # C = 1/(N - 1) sum_i (z_i - mean)(z_i - mean)^T; c = 1/D sum_{i != j} C_ij^2
    covariances = product(z.T, z) / (len(z) - 1)
    return (covariances.square().sum() - covariances.diagonal().square().sum()) / z.shape[1]
