"""Importance-weighted autoencoder.

Burda et al. 2015, "Importance weighted autoencoders" (1509.00519), eq. 8; its gradient is that of eq. 13 and 14.
"""

from torch import Tensor

from frame.common.errors import at_least
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel
from frame.probability.importance import iwae_bound


class IWAE(LatentVariableModel):
    """loss = -E[log 1/K sum_k w_k], with w_k = p(x, z_k) / q(z_k|x) and z_k ~ q(z|x).

    Nats per sample: sums over pixels and latents, a mean over the batch. With K = 1 the loss is the negative ELBO
    whose KL is sampled. 'elbo', the mean of log w_k, is logged, too.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        n_samples: K, samples of z for each x in the loss.

    Raises:
        UserError: n_samples < 1, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        n_samples: int,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        log_w = self.log_weights(batch["x"], n_samples=self.n_samples)  # [K, B]
        # loss = -log 1/K sum_k w_k
        return {"loss": -iwae_bound(log_w).mean(), "elbo": log_w.mean()}
