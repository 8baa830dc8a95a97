"""Equal risks in all environments, by the variance of the risks.

Krueger et al. 2021, "Out-of-distribution generalization via risk extrapolation (REx)" (2003.00688), eq. 8.
"""

from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EnvironmentModel, rescaled


class VREx(EnvironmentModel):
    """loss = sum over environments e of R_e + beta * Var(R_1, ..., R_E).

    R_e is the mean of -log p(y|z) in e, nats per sample. The variance is the mean squared difference from their mean:
    (R_1 - R_2)^2 / 4 for two environments. The authors' code has the square itself, so its weight is beta / 4.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z).
        n_envs: the number of environments.
        beta: at least 0; it may follow a schedule.
        rescale: whether the loss is divided by beta where that is above 1, as in the authors' code.

    Raises:
        UserError: beta is negative, or as `EnvironmentModel`.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        n_envs: int | None,
        beta: float | Coefficient,
        rescale: bool = True,
    ) -> None:
        super().__init__(encoder, predictor, n_envs)
        self.beta = coefficient("beta", beta)
        self.rescale = rescale

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        p_y_given_z = self.predictor(self.encoder(batch["x"]).mean)
        risks, there = self.by_environment(-p_y_given_z.log_prob(batch["y"]), batch["env"])  # [E]
        mean = risks.sum() / there.sum()
        variance = (there * (risks - mean).square()).sum() / there.sum()
        loss = risks.sum() + self.beta() * variance
        return {
            "loss": rescaled(loss, self.beta()) if self.rescale else loss,
            "risk": mean,
            "variance": variance,
        }
