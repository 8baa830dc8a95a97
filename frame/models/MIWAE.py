"""Multiply importance-weighted autoencoder.

Rainforth et al. 2018, "Tighter variational bounds are not necessarily better" (1802.04537), sec. 5: the mean of M
bounds with K samples each. Its gradient for the encoder has less noise than that of one bound with M * K samples.
"""

from torch import Tensor

from frame.common.errors import at_least
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel
from frame.probability.importance import iwae_bound


class MIWAE(LatentVariableModel):
    """loss = -1/M sum_m log 1/K sum_k w_mk, with w_mk = p(x, z_mk) / q(z_mk|x) and z_mk ~ q(z|x).

    Nats per sample: sums over pixels and latents, a mean over the batch. M = 1 is the IWAE with K samples; K = 1 the
    negative ELBO, its KL sampled, averaged over M samples of z. 'elbo' is the mean of log w_mk.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        n_bounds: M.
        n_samples: K, samples of z in each bound: the decoder reads M * K for each x.

    Raises:
        UserError: n_bounds or n_samples is below 1, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        n_bounds: int,
        n_samples: int,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        at_least(1, n_bounds=n_bounds, n_samples=n_samples)
        self.n_bounds = n_bounds
        self.n_samples = n_samples

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        log_w = self.log_weights(batch["x"], n_samples=self.n_bounds * self.n_samples)  # [M * K, B]
        log_w = log_w.unflatten(0, (self.n_samples, self.n_bounds))  # [K, M, B]
        # loss = -1/M sum_m log 1/K sum_k w_mk
        return {"loss": -iwae_bound(log_w).mean(), "elbo": log_w.mean()}
