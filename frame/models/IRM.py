"""A predictor that is at its best in each environment at once.

Arjovsky et al. 2019, "Invariant risk minimization" (1907.02893), eq. (IRMv1) and section 3.1.
"""

from torch import Tensor
from torch.distributions import Categorical, Distribution, Normal

from frame.common.errors import UserError
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EnvironmentModel, rescaled


class IRM(EnvironmentModel):
    """loss = mean over environments e of R_e + penalty_weight * (d/dw R_e(w f) at w = 1)^2.

    R_e is the mean of -log p(y|z) in e, nats per sample; f are the logits of p(y|z), or the mean of a Normal. As in the
    authors' code, environments are averaged, the paper's sum divided by their number.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z), a Categorical; or a Normal, for numbers y.
        n_envs: the number of environments.
        penalty_weight: lambda, at least 0; it may follow a schedule.
        rescale: whether the loss is divided by penalty_weight where that is above 1, as in the authors' code.

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
        p_y_given_z, y = self.predictor(self.encoder(batch["x"]).mean), batch["y"]
        risks, there = self.by_environment(-p_y_given_z.log_prob(y), batch["env"])  # [E]
        slopes, _ = self.by_environment(slope(p_y_given_z, y), batch["env"])
        risk = risks.sum() / there.sum()
        penalty = slopes.square().sum() / there.sum()
        weight = self.penalty_weight()
        loss = risk + weight * penalty
        return {"loss": rescaled(loss, weight) if self.rescale else loss, "risk": risk, "penalty": penalty}


def slope(p: Distribution, y: Tensor) -> Tensor:
    """d/dw of -log p(y) at w = 1, where w multiplies the logits of a Categorical or the mean of a Normal; [B].

    Raises:
        UserError: p is another distribution.
    """
    if isinstance(p, Categorical):
        # -log p(y) = log sum_k exp(w f_k) - w f_y: the slope is E_{k ~ p}[f_k] - f_y, in which constants of f cancel
        f: Tensor = p.logits
        return (f.exp() * f).sum(-1) - f.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    if isinstance(p, Normal):
        # -log p(y) = (y - w mu)^2 / (2 sigma^2) + constants
        return (p.mean - y) * p.mean / p.variance
    raise UserError(f"IRM: p(y|z) is a {type(p).__name__}: give a predictor that returns a Categorical or a Normal")
