"""Features from which the environment cannot be told.

Ganin et al. 2016, "Domain-adversarial training of neural networks" (1505.07818), eq. 9, 10 and 13 to 15.
"""

from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EnvironmentModel, check_z_dim


class DANN(EnvironmentModel):
    """loss = E[-log p(y|z)] + sum over environments e of E[-log p(e|z)], the latter's gradient times -weight at z.

    So p(e|z) descends on its own loss and the encoder ascends on it, in one step of one optimizer. The paper has two
    domains, one of them without labels; here all rows have labels.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z).
        env_predictor: p(e|z), a Categorical over environments.
        n_envs: the number of environments.
        weight: the paper's lambda, at least 0; it may follow a schedule, `Logistic` from 0 to 1 in the paper.

    Raises:
        UserError: weight is negative, or as `EnvironmentModel`.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        env_predictor: ConditionalDistribution,
        n_envs: int | None,
        weight: float | Coefficient,
    ) -> None:
        super().__init__(encoder, predictor, n_envs)
        check_z_dim(encoder=encoder, env_predictor=env_predictor)
        self.env_predictor = env_predictor
        self.weight = coefficient("weight", weight)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z = self.encoder(batch["x"]).mean
        cross_entropy = -self.predictor(z).log_prob(batch["y"]).mean()
        p_e_given_z = self.env_predictor(reversed_gradient(z, self.weight()))
        of_envs = self.by_environment(-p_e_given_z.log_prob(batch["env"]), batch["env"])[0].sum()
        return {"loss": cross_entropy + of_envs, "cross_entropy": cross_entropy, "env_cross_entropy": of_envs}


def reversed_gradient(z: Tensor, weight: Tensor) -> Tensor:
    """z itself, whose gradient is -weight times what comes back: R(z) = z, dR/dz = -weight I, eq. 13 and 14."""
    here = z.detach()
    return here + weight * (here - z)
