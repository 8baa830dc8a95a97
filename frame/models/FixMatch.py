"""FixMatch: confident predictions on a weakly augmented picture are the labels of its strongly augmented version.

Sohn et al. 2020, "FixMatch: simplifying semi-supervised learning with consistency and confidence" (2001.07685), eq. 3
and 4, algorithm 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from frame.common.errors import UserError
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, MeanClassifier, two_views


class FixMatch(MeanClassifier):
    """loss = E[-log p(y|a(x))] + weight E[1(max q >= threshold) * -log p(argmax q | A(x'))], q = p(.|a(x')).

    a(x) is the weak view, the first of 'views', and A(x) the strong one, the second; x' has no label. Both are means
    over all their rows of the batch, confident or not, in nats per sample. q gets no gradient. The paper judges an
    exponential average of the weights, which is `optimization.average`.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z), a Categorical.
        threshold: tau, in [0, 1]; it may follow a schedule.
        weight: lambda_u, at least 0.

    Raises:
        UserError: a number is out of range, or the networks disagree on z_dim; from the loss, there are not two views.
    """

    needs = ("views", "y", "unlabelled.views")

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        threshold: float | Coefficient = 0.95,
        weight: float | Coefficient = 1.0,
    ) -> None:
        super().__init__(encoder, predictor)
        self.threshold, self.weight = coefficient("threshold", threshold), coefficient("weight", weight)
        if self.threshold.bounds[1] > 1:
            raise UserError(f"threshold={self.threshold.bounds[1]:g}: it is a probability, in [0, 1], such as 0.95")

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x, (u_weak, u_strong) = two_views(batch)[0], two_views(batch["unlabelled"])
        # one pass, so that batch statistics are those of all, as in the authors' code
        log_p = self.predict(torch.cat([x, u_weak, u_strong]))
        labelled, weak, strong = log_p.split([len(x), len(u_weak), len(u_strong)])
        supervised = F.cross_entropy(labelled, batch["y"])  # eq. 3
        confidence, pseudo_label = weak.detach().softmax(1).max(1)
        confident = (confidence >= self.threshold()).float()
        consistency = (confident * F.cross_entropy(strong, pseudo_label, reduction="none")).mean()  # eq. 4
        return {
            "loss": supervised + self.weight() * consistency,
            "cross_entropy": supervised,
            "consistency": consistency,
            "confident": confident.mean(),
        }
