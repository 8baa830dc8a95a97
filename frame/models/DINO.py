"""Self-distillation without labels: a student finds a teacher's soft choice of prototypes for another view.

Caron et al. 2021, "Emerging properties in self-supervised vision transformers" (2104.14294), eq. 1 to 4 and algorithm
1, with two views and no smaller crops.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.common.ranks import mean_over_ranks
from frame.common.schedules import Coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, Teacher, above_zero, cosines, embedding_size, two_views


class DINO(JointEmbeddingModel):
    """loss = (H(p'(v1), p(v2)) + H(p'(v2), p(v1))) / 2, a mean over rows, H(p', p) = -sum_k p'_k log p_k, nats.

    The student's p is the softmax of s / tau, where s has the cosines of its embedding z and K prototypes: the paper's
    normalised bottleneck, and its last layer with normalised weights. The teacher's p' is the softmax of
    (s' - c) / tau'. tau' < tau sharpens it, and the centre c, a moving average of s' over all rows and ranks, keeps one
    prototype from winning everywhere. 'entropy' of the teacher's choice is logged, too: log K if it is uniform.

    Args:
        encoder: f; its head is removed.
        projector: g.
        n_prototypes: K.
        temperature: tau of the student, above 0.
        teacher_temperature: tau' of the teacher, above 0; it may follow a schedule, 0.04 to 0.07 in the paper.
        decay: of the teacher's average, in [0, 1]; it may follow a schedule, 0.996 to 1 in the paper.
        centre_decay: m, the share that the centre keeps of itself in each batch, in [0, 1].

    Raises:
        UserError: a number is out of range, the projector has no z_dim, or as `JointEmbeddingModel`; from the loss,
            there are not two views.
    """

    centre: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | partial[Any],
        n_prototypes: int,
        temperature: float | Coefficient,
        teacher_temperature: float | Coefficient,
        decay: float | Coefficient,
        centre_decay: float = 0.9,
    ) -> None:
        super().__init__(encoder, projector)
        at_least(2, n_prototypes=n_prototypes)
        if not 0 <= centre_decay <= 1:
            raise UserError(f"centre_decay={centre_decay}: it must lie in [0, 1], such as 0.9")
        self.temperature = above_zero("temperature", temperature)
        self.teacher_temperature = above_zero("teacher_temperature", teacher_temperature)
        self.centre_decay = centre_decay
        self.prototypes = Prototypes(embedding_size(self.projector), n_prototypes)
        self.teacher = Teacher(self.encoder, self.scores, decay)
        self.register_buffer("centre", torch.zeros(n_prototypes))

    @property
    def scores(self) -> nn.Sequential:
        """Features -> cosines of their embeddings and the prototypes, [B, K]."""
        return nn.Sequential(self.projector, self.prototypes)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        views = torch.cat(two_views(batch))  # [2B, *shape]
        student, teacher = self.prototypes(self.embed(views)), self.teacher.embed(views)  # [2B, K]
        # p' = softmax((s' - c) / tau'), p = softmax(s / tau)
        p1, p2 = ((teacher - self.centre) / self.teacher_temperature()).softmax(1).chunk(2)
        log_p1, log_p2 = (student / self.temperature()).log_softmax(1).chunk(2)
        # H(p'(v1), p(v2)) / 2 + H(p'(v2), p(v1)) / 2
        each = -((p1 * log_p2).sum(1) + (p2 * log_p1).sum(1)) / 2  # [B]
        entropy = torch.special.entr(torch.cat([p1, p2])).sum(1).mean()
        if self.training:  # c = m c + (1 - m) mean of s'
            self.centre.mul_(self.centre_decay).add_(mean_over_ranks(teacher.mean(0)), alpha=1 - self.centre_decay)
        return {"loss": each.mean(), "entropy": entropy}

    def after_update(self, iteration: int) -> None:
        self.teacher.follow(self.encoder, self.scores)


class Prototypes(nn.Module):
    """The cosines of embeddings [B, n_in] and of K directions, [B, K]."""

    def __init__(self, n_in: int, n_prototypes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_prototypes, n_in) / n_in**0.5)

    def forward(self, z: Tensor) -> Tensor:
        return cosines(z, self.weight)
