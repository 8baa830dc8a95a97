"""Pseudo-labels: a classifier's own most probable class stands for the label that a row lacks.

Lee 2013, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks" (ICML
workshop on challenges in representation learning), eq. 14 to 16.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, MeanClassifier


class PseudoLabels(MeanClassifier):
    """loss = E[-log p(y|x)] + alpha E[-log p(y'|x')], y' = argmax p(y'|x') for rows x' without labels.

    Both are means over their rows of the batch, in nats per sample. y' is found anew for each batch, by the weights of
    now, and gets no gradient. The paper's alpha is 0 for its first T1 epochs and then rises along a line until T2:
    `{_target_: frame.common.schedules.Linear, start: 0.0, end: 3.0, after: T1, over: T2 - T1}`. Its loss is a sum of
    sigmoids' cross-entropies; this one is a softmax's.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z), a Categorical.
        alpha: weight of the rows without labels, at least 0.

    Raises:
        UserError: alpha is negative, or the networks disagree on z_dim.
    """

    needs = ("x", "y", "unlabelled.x")

    def __init__(
        self, encoder: ConditionalDistribution, predictor: ConditionalDistribution, alpha: float | Coefficient
    ) -> None:
        super().__init__(encoder, predictor)
        self.alpha = coefficient("alpha", alpha)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x, u = batch["x"], batch["unlabelled"]["x"]
        # one pass, so that batch statistics are those of both
        labelled, unlabelled = self.predict(torch.cat([x, u])).split([len(x), len(u)])
        supervised = F.cross_entropy(labelled, batch["y"])
        pseudo = F.cross_entropy(unlabelled, unlabelled.argmax(1))  # the target is an index: no gradient
        return {"loss": supervised + self.alpha() * pseudo, "cross_entropy": supervised, "pseudo": pseudo}
