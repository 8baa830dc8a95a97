"""Features whose covariance is the same in all environments.

Sun & Saenko 2016, "Deep CORAL: correlation alignment for deep domain adaptation" (1607.01719), eq. 1 to 3 and 6.
"""

import torch
from torch import Tensor

from frame.common.ranks import all_rows
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EnvironmentModel


class CORAL(EnvironmentModel):
    """loss = E[-log p(y|z)] + weight * mean over pairs of environments of |C_e - C_f|^2 / (4 z_dim^2).

    C_e is the covariance of z over the rows of e, |.|^2 the sum of squares. The paper has two domains, one of them
    without labels. Environments with fewer than two rows in a batch are in no pair.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z).
        n_envs: the number of environments.
        weight: the paper's lambda, at least 0; it may follow a schedule.

    Raises:
        UserError: weight is negative, or as `EnvironmentModel`.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        n_envs: int | None,
        weight: float | Coefficient,
    ) -> None:
        super().__init__(encoder, predictor, n_envs)
        self.weight = coefficient("weight", weight)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z = self.encoder(batch["x"]).mean
        cross_entropy = -self.predictor(z).log_prob(batch["y"]).mean()
        distance = covariance_distance(all_rows(z), all_rows(batch["env"]), self.n_envs)
        return {
            "loss": cross_entropy + self.weight() * distance,
            "cross_entropy": cross_entropy,
            "covariance_distance": distance,
        }


def covariance_distance(z: Tensor, env: Tensor, n_envs: int) -> Tensor:
    """The mean of |C_e - C_f|^2 / (4 d^2) over pairs of environments with two rows or more, for z [N, d]; shape ()."""
    z = z.float()
    covariances, enough = [], []
    with torch.autocast(z.device.type, enabled=False):
        for e in range(n_envs):
            belongs = (env == e).float().unsqueeze(1)  # [N, 1]
            n = belongs.sum()
            # C = (sum of z z^T - n mean mean^T) / (n - 1)
            centred = belongs * (z - (belongs * z).sum(0) / n.clamp(min=1))
            covariances.append(centred.T @ centred / (n - 1).clamp(min=1))
            enough.append((n >= 2).float())
    pairs = [(e, f) for e in range(n_envs) for f in range(e)]
    counted = [enough[e] * enough[f] for e, f in pairs]
    if not pairs:
        return z.new_zeros(())
    each = [c * (covariances[e] - covariances[f]).square().sum() for c, (e, f) in zip(counted, pairs, strict=True)]
    return torch.stack(each).sum() / torch.stack(counted).sum().clamp(min=1) / (4 * z.shape[1] ** 2)
