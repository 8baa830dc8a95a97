"""Predicting another view's embedding, which gets no gradient: without negatives and without a teacher.

Chen & He 2020, "Exploring simple siamese representation learning" (2011.10566), eq. 1 to 4.
"""

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from frame.data.base import Batch
from frame.measures.geometry import directional_spread
from frame.models.base import JointEmbeddingModel, sized, two_views


class SimSiam(JointEmbeddingModel):
    """loss = -(cos(q(z1), sg[z2]) + cos(q(z2), sg[z1])) / 2, a mean over rows; sg[z] has no gradient.

    It lies in [-1, 1], and a collapse is -1. 'spread' is logged, too, the `directional_spread` of z: about 1
    if directions are uniform, and 0 after a collapse (section 4.1).

    Args:
        encoder: f; its head is removed.
        projector: g, whose output is normalised over the batch in the paper.
        predictor: q, z [B, z_dim] -> [B, z_dim]; with `_partial_: true` it is made here, for the projector's z_dim.

    Raises:
        UserError: as `JointEmbeddingModel`; from the loss, there are not two views.
    """

    def __init__(
        self, encoder: nn.Module, projector: nn.Module | partial[Any], predictor: nn.Module | partial[Any]
    ) -> None:
        super().__init__(encoder, projector)
        z_dim = getattr(self.projector, "z_dim", None)
        self.predictor = sized(predictor, "predictor", z_dim, type(self.projector).__name__)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z1, z2 = (self.embed(view) for view in two_views(batch))
        q1, q2 = (self.predictor(z).float() for z in (z1, z2))
        # L = D(q1, sg[z2]) / 2 + D(q2, sg[z1]) / 2, D(q, z) = -cos(q, z)
        each = -F.cosine_similarity(q1, z2.detach()) / 2 - F.cosine_similarity(q2, z1.detach()) / 2  # [B]
        return {"loss": each.mean(), "spread": directional_spread(z1.detach())}
