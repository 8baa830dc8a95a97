"""VAE whose rate follows a capacity that grows during training.

Burgess et al. 2018, "Understanding disentangling in beta-VAE" (1804.03599), eq. 8.
"""

from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel


class AnnealedVAE(LatentVariableModel):
    """loss = distortion + gamma * |rate - C|, with distortion = -E[log p(x|z)] and rate = KL(q(z|x) || p(z)).

    Nats per sample: sums over pixels and latents, a mean over the batch, one sample of z. The mean rate of the
    batch is compared with C, as in the common implementations: single pictures may need more or less than C. With C = 0
    this is the VAE with beta = gamma, unless a sampled rate is negative.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        gamma: weight of the rate's distance from C, at least 0; the paper's is 1000.
        capacity: C in nats, at least 0; a schedule such as `frame.common.schedules.Linear`, from 0 to 25 in the paper.

    Raises:
        UserError: gamma or capacity is negative, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        gamma: float | Coefficient,
        capacity: float | Coefficient,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        self.gamma = coefficient("gamma", gamma)
        self.capacity = coefficient("capacity", capacity)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        distortion, rate = (term.mean() for term in self.distortion_and_rate(batch["x"]))
        # eq. 8: -E[log p(x|z)] + gamma |KL - C|
        loss = distortion + self.gamma() * (rate - self.capacity()).abs()
        return {"loss": loss, "distortion": distortion, "rate": rate}
