"""Momentum contrast: a query finds its key among a queue of earlier keys, which a slowly moving encoder made.

He et al. 2019, "Momentum contrast for unsupervised visual representation learning" (1911.05722), eq. 1 and 2, with the
projector of Chen et al. 2020, "Improved baselines with momentum contrastive learning" (2003.04297).
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import at_least
from frame.common.ranks import all_rows
from frame.common.schedules import Coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, Teacher, above_zero, cosines, embedding_size, two_views


class MoCo(JointEmbeddingModel):
    """loss = -log of the softmax of cos(q, k) / tau at the row's own key, among it and the keys in the queue.

    Nats per row, a mean over rows. q = g(f(v1)), k = g'(f'(v2)) of a teacher, whose weights are a moving average. In
    training, the keys of all ranks enter the queue after the loss, and the oldest leave it; at first it has random
    directions. The loss is log(n_queue + 1) if all cosines are equal.

    A query and a key that the same batch has normalised give the pair away. For the keys, the paper shuffles the rows
    over devices, each of which normalises its own rows. Here each process does so with groups of its rows.

    Args:
        encoder: f; its head is removed.
        projector: g.
        temperature: tau, above 0.
        decay: m of the teacher's average, in [0, 1]; it may follow a schedule.
        n_queue: K, the keys in the queue.
        n_groups: shuffled groups of a batch, which the teacher normalises one by one; fewer if a group had one row.

    Raises:
        UserError: a number is out of range, the projector has no z_dim, or as `JointEmbeddingModel`; from the loss,
            there are not two views.
    """

    queue: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | partial[Any],
        temperature: float | Coefficient,
        decay: float | Coefficient,
        n_queue: int,
        n_groups: int = 8,
    ) -> None:
        super().__init__(encoder, projector)
        at_least(1, n_queue=n_queue, n_groups=n_groups)
        self.n_groups = n_groups
        self.temperature = above_zero("temperature", temperature)
        self.teacher = Teacher(self.encoder, self.projector, decay)
        self.register_buffer("queue", F.normalize(torch.randn(n_queue, embedding_size(self.projector)), dim=1))

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        v1, v2 = two_views(batch)
        q, k = self.embed(v1), self.keys(v2)  # [B, z_dim]
        positive = F.cosine_similarity(q, k).unsqueeze(1)  # [B, 1]
        s = torch.cat([positive, cosines(q, self.queue)], dim=1) / self.temperature()  # [B, 1 + K]
        # L = -log(exp(q.k+ / tau) / sum_i exp(q.k_i / tau))
        loss = (s.logsumexp(1) - s[:, 0]).mean()
        if self.training:
            self.queue.copy_(torch.cat([all_rows(k), self.queue])[: len(self.queue)])
        return {"loss": loss}

    def keys(self, v2: Tensor) -> Tensor:
        """k = g'(f'(v2)), of length 1: [B, z_dim]. Its rows are shuffled, and normalised in groups."""
        order = torch.rand(len(v2), device=v2.device).argsort()  # randperm would read values on the host
        groups = v2[order].tensor_split(max(1, min(self.n_groups, len(v2) // 2)))
        k = torch.cat([self.teacher.embed(group) for group in groups])
        return F.normalize(k[order.argsort()], dim=1)

    def after_update(self, iteration: int) -> None:
        self.teacher.follow(self.encoder, self.projector)
