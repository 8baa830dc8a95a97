"""Predicting a slowly moving teacher's embedding of another view, without negatives.

Grill et al. 2020, "Bootstrap your own latent" (2006.07733), eq. 1 and 2, and the symmetric loss of section 3.1.
"""

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.schedules import Coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, Teacher, sized, two_views


class BYOL(JointEmbeddingModel):
    """loss = (2 - 2 cos(q(z1), z2')) + (2 - 2 cos(q(z2), z1')), a mean over rows.

    z = g(f(v)) of the student, z' of the teacher, whose weights are a moving average of the student's. `encode` and
    `features` are the student's.

    Args:
        encoder: f; its head is removed.
        projector: g.
        predictor: q, z [B, z_dim] -> [B, z_dim]; with `_partial_: true` it is made here, for the projector's z_dim.
        decay: of the teacher's average, in [0, 1]; it may follow a schedule, 0.996 to 1 in the paper.

    Raises:
        UserError: decay is out of range, or as `JointEmbeddingModel`; from the loss, there are not two views.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | partial[Any],
        predictor: nn.Module | partial[Any],
        decay: float | Coefficient,
    ) -> None:
        super().__init__(encoder, projector)
        z_dim = getattr(self.projector, "z_dim", None)
        self.predictor = sized(predictor, "predictor", z_dim, type(self.projector).__name__)
        self.teacher = Teacher(self.encoder, self.projector, decay)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        views = two_views(batch)
        q1, q2 = (self.predictor(self.embed(view)).float() for view in views)
        t1, t2 = (self.teacher.embed(view) for view in views)
        # ||q / |q| - z' / |z'| ||^2 = 2 - 2 cos(q, z')
        each = 4 - 2 * F.cosine_similarity(q1, t2) - 2 * F.cosine_similarity(q2, t1)  # [B]
        return {"loss": each.mean()}

    def after_update(self, iteration: int) -> None:
        self.teacher.follow(self.encoder, self.projector)
