"""Equal gradients of the risks of all environments.

Koyama and Yamaguchi 2020, "Out-of-distribution generalization with maximal invariant predictor" (2008.01883), the
inter-gradient alignment of its section 3.
"""

import torch
from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EnvironmentGradientModel, rescaled


class IGA(EnvironmentGradientModel):
    """loss = mean over environments e of R_e + penalty_weight * mean over e of ||g_e - mean of g||^2.

    R_e is the mean of -log p(y|z) in e, nats per sample, and g_e its gradient with respect to all parameters that are
    trained. The penalty is the trace of the covariance of g_e. The authors of the linear unit tests sum over
    environments: their weight is this one divided by the number of environments.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z).
        n_envs: the number of environments.
        penalty_weight: lambda, at least 0; it may follow a schedule.
        rescale: whether the loss is divided by penalty_weight where that is above 1.

    Raises:
        UserError: penalty_weight is negative, or as `EnvironmentModel`.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        n_envs: int | None,
        penalty_weight: float | Coefficient,
        rescale: bool = True,
    ) -> None:
        super().__init__(encoder, predictor, n_envs)
        self.penalty_weight = coefficient("penalty_weight", penalty_weight)
        self.rescale = rescale

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        risks, there, gradients = self.risks_and_gradients(batch, differentiable=True)
        risk = risks.sum() / there.sum()
        flat = torch.cat([gradient.reshape(self.n_envs, -1) for gradient in gradients.values()], 1)  # [E, parameters]
        difference = flat - flat.sum(0) / there.sum()  # g_e is 0 where e has no rows
        penalty = (there * difference.square().sum(1)).sum() / there.sum()
        weight = self.penalty_weight()
        loss = risk + weight * penalty
        return {"loss": rescaled(loss, weight) if self.rescale else loss, "risk": risk, "penalty": penalty}
