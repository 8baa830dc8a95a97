"""Contrastive learning of two views.

Chen et al. 2020, "A simple framework for contrastive learning of visual representations" (2002.05709), eq. 1.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.ranks import all_rows
from frame.common.schedules import Coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, above_zero, cosines, two_views


class SimCLR(JointEmbeddingModel):
    """loss = the mean over all 2N views of NT-Xent: each view finds the other one of its row among 2N - 1.

    Nats per view. The N rows are those of all ranks. It is log(2N - 1) if all embeddings are equal.

    Args:
        encoder: f; its head is removed.
        projector: g.
        temperature: tau, above 0.

    Raises:
        UserError: the temperature is not above 0, or as `JointEmbeddingModel`; from the loss, there are not two views.
    """

    def __init__(
        self, encoder: nn.Module, projector: nn.Module | partial[Any], temperature: float | Coefficient
    ) -> None:
        super().__init__(encoder, projector)
        self.temperature = above_zero("temperature", temperature)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z1, z2 = self.embed(torch.cat(two_views(batch))).chunk(2)
        return {"loss": nt_xent(all_rows(z1), all_rows(z2), self.temperature())}


def nt_xent(z1: Tensor, z2: Tensor, temperature: float | Tensor) -> Tensor:
    """The mean NT-Xent of embeddings of two views, both [N, z_dim]; shape (), nats."""
    z = torch.cat([z1, z2])  # [2N, z_dim]
    s = cosines(z, z) / temperature  # [2N, 2N]
    s = s.masked_fill(torch.eye(len(s), dtype=torch.bool, device=s.device), float("-inf"))
    # l(i, j) = -log(exp(s_ij) / sum over k != i of exp(s_ik)), where j is the other view of i
    positive = torch.cat([s.diagonal(len(z1)), s.diagonal(-len(z1))])  # [2N]
    return (s.logsumexp(1) - positive).mean()
