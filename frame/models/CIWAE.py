"""Combination importance-weighted autoencoder.

Rainforth et al. 2018, "Tighter variational bounds are not necessarily better" (1802.04537), sec. 5: the
encoder's gradient of the importance-weighted bound vanishes in noise as K grows; that of the ELBO does not.
"""

from torch import Tensor

from frame.common.errors import UserError, at_least
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel
from frame.probability.importance import iwae_bound


class CIWAE(LatentVariableModel):
    """loss = -beta / K sum_k log w_k - (1 - beta) log 1/K sum_k w_k, w_k = p(x, z_k) / q(z_k|x) and z_k ~ q(z|x).

    Nats per sample: sums over pixels and latents, a mean over the batch. beta = 0 is the IWAE, beta = 1 the negative
    ELBO, its KL sampled. 'elbo' is the mean of log w_k, 'bound' the IWAE's.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        beta: share of the ELBO, from 0 to 1.
        n_samples: K, samples of z for each x in the loss.

    Raises:
        UserError: beta or n_samples is out of range, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        beta: float | Coefficient,
        n_samples: int,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        at_least(1, n_samples=n_samples)
        self.beta = coefficient("beta", beta)
        if self.beta.bounds[1] > 1:
            raise UserError(f"beta={self.beta.bounds[1]:g}: it is a share, at most 1")
        self.n_samples = n_samples

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        log_w = self.log_weights(batch["x"], n_samples=self.n_samples)  # [K, B]
        elbo, bound = log_w.mean(), iwae_bound(log_w).mean()
        # loss = -beta / K sum_k log w_k - (1 - beta) log 1/K sum_k w_k
        beta = self.beta()
        return {"loss": -beta * elbo - (1 - beta) * bound, "elbo": elbo, "bound": bound}
