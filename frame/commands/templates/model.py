"""A variational autoencoder, written out, to be changed into a method of your own.

Say here which paper and which equation it is, and what differs.
"""

from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel
from frame.probability.distributions import rsample
from frame.probability.divergences import kl_divergence


class Mine(LatentVariableModel):
    """loss = -E[log p(x|z)] + weight * KL(q(z|x) || p(z)), nats per sample.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z).
        weight: of the KL, at least 0; 1 trains on the ELBO.

    Raises:
        UserError: weight is negative, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        weight: float | Coefficient,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        self.weight = coefficient("weight", weight)  # a number or a schedule

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]  # [B, *shape] in [0, 1]
        q_z_given_x = self.encoder(x)
        z = rsample(q_z_given_x)  # [B, z_dim]
        distortion = -self.decoder(z).log_prob(x)  # [B]
        rate = kl_divergence(q_z_given_x, self.p_z(), z)  # [B]
        # 'loss' is differentiated, the rest is logged
        loss = (distortion + self.weight() * rate).mean()
        return {"loss": loss, "distortion": distortion.mean(), "rate": rate.mean()}
