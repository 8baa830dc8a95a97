"""The cross-correlation of two views' embeddings becomes the identity.

Zbontar et al. 2021, "Barlow twins: self-supervised learning via redundancy reduction" (2103.03230), eq. 1 and 2.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn

from frame.common.ranks import all_rows
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, product, two_views


class BarlowTwins(JointEmbeddingModel):
    """loss = sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2, C the correlations of both views' dimensions.

    The correlations are those of the rows of all ranks. Both sums are logged, too, as 'invariance' and 'redundancy'.

    Args:
        encoder: f; its head is removed.
        projector: g.
        redundancy: lambda, 0.005 in the paper.

    Raises:
        UserError: redundancy is negative, or as `JointEmbeddingModel`; from the loss, there are not two views.
    """

    def __init__(
        self, encoder: nn.Module, projector: nn.Module | partial[Any], redundancy: float | Coefficient
    ) -> None:
        super().__init__(encoder, projector)
        self.redundancy = coefficient("redundancy", redundancy)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z1, z2 = (all_rows(self.embed(view)) for view in two_views(batch))
        c = cross_correlation(z1, z2)
        on_diagonal = (1 - c.diagonal()).square().sum()
        off_diagonal = c.square().sum() - c.diagonal().square().sum()
        # L = sum_i (1 - C_ii)^2 + lambda sum_i sum_{j != i} C_ij^2
        loss = on_diagonal + self.redundancy() * off_diagonal
        return {"loss": loss, "invariance": on_diagonal, "redundancy": off_diagonal}


def cross_correlation(z1: Tensor, z2: Tensor, eps: float = 1e-5) -> Tensor:
    """C [D, D], the correlations of the columns of z1 and of z2, both [N, D]; eps is added to variances."""
    # C_ij = sum_b a_bi b_bj / (sqrt(sum_b a_bi^2) sqrt(sum_b b_bj^2)), where a and b are centred over the batch
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + eps).sqrt() for z in (z1, z2))
    return product(a.T, b) / len(z1)
