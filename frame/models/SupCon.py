"""Supervised contrastive learning of two views.

Khosla et al. 2020, "Supervised contrastive learning" (2004.11362), eq. 2.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.ranks import all_rows
from frame.common.schedules import Coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, above_zero, cosines, two_views


class SupCon(JointEmbeddingModel):
    """loss = the mean over all 2N views of -log p of the views of the same class, among the 2N - 1 others.

    Nats per view. The N rows are those of all ranks. With one row of each class it is SimCLR's loss.

    Args:
        encoder: f; its head is removed.
        projector: g.
        temperature: tau, above 0.

    Raises:
        UserError: the temperature is not above 0, or as `JointEmbeddingModel`; from the loss, there are not two views.
    """

    needs = ("views", "y")

    def __init__(
        self, encoder: nn.Module, projector: nn.Module | partial[Any], temperature: float | Coefficient
    ) -> None:
        super().__init__(encoder, projector)
        self.temperature = above_zero("temperature", temperature)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z1, z2 = self.embed(torch.cat(two_views(batch))).chunk(2)
        y = all_rows(batch["y"])
        return {"loss": supcon(all_rows(z1), all_rows(z2), y, self.temperature())}


def supcon(z1: Tensor, z2: Tensor, y: Tensor, temperature: float | Tensor) -> Tensor:
    """The mean loss L_out of embeddings of two views, both [N, z_dim], and their classes y [N]; shape (), nats."""
    z, classes = torch.cat([z1, z2]), torch.cat([y, y])  # [2N, z_dim], [2N]
    s = cosines(z, z) / temperature  # [2N, 2N]
    itself = torch.eye(len(s), dtype=torch.bool, device=s.device)
    log_p = s - s.masked_fill(itself, float("-inf")).logsumexp(1, keepdim=True)
    positive = ((classes.unsqueeze(1) == classes) & ~itself).float()  # P(i), a row for each i
    # L_out = sum_i -1/|P(i)| sum over p in P(i) of log(exp(s_ip) / sum over a != i of exp(s_ia))
    return -((positive * log_p).sum(1) / positive.sum(1)).mean()
