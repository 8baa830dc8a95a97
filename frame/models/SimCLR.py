"""Contrastive learning of two views.

Chen et al. 2020, "A simple framework for contrastive learning of visual representations" (2002.05709), eq. 1.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.common.ranks import all_rows
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, two_views


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

    least_rows = 2

    def __init__(
        self, encoder: nn.Module, projector: nn.Module | partial[Any], temperature: float | Coefficient
    ) -> None:
        super().__init__(encoder, projector)
        self.temperature = coefficient("temperature", temperature)
        if not self.temperature.bounds[0] > 0:
            raise UserError(f"temperature={self.temperature.bounds[0]:g}: it must be above 0, such as 0.5")

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z1, z2 = self.embed(torch.cat(two_views(batch))).chunk(2)
        return {"loss": nt_xent(all_rows(z1), all_rows(z2), self.temperature())}


def nt_xent(z1: Tensor, z2: Tensor, temperature: float | Tensor) -> Tensor:
    """The mean NT-Xent of embeddings of two views, both [N, z_dim]; shape (), nats."""
    z = F.normalize(torch.cat([z1, z2]).float(), dim=1)  # [2N, z_dim]
    with torch.autocast(z.device.type, enabled=False):
        s = z @ z.T / temperature  # cosines over tau, [2N, 2N]
    s = s.masked_fill(torch.eye(len(s), dtype=torch.bool, device=s.device), float("-inf"))
    # l(i, j) = -log(exp(s_ij) / sum over k != i of exp(s_ik)), where j is the other view of i
    positive = torch.cat([s.diagonal(len(z1)), s.diagonal(-len(z1))])  # [2N]
    return (s.logsumexp(1) - positive).mean()
