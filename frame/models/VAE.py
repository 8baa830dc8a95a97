"""Variational autoencoder.

Kingma & Welling 2014, "Auto-encoding variational Bayes" (1312.6114), eq. 3 with its estimator of eq. 7; the weight
`beta` of the KL is that of Higgins et al. 2017, "beta-VAE", eq. 4; free bits are those of Kingma et al. 2016
(1606.04934), eq. 15, with all latents in one group. Names of the two terms: Alemi et al. 2018, "Fixing a broken ELBO"
(1711.00464).
"""

import torch
from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel


class VAE(LatentVariableModel):
    """loss = distortion + beta * rate, with distortion = -E[log p(x|z)] and rate = KL(q(z|x) || p(z)).

    Nats per sample: sums over pixels and latents, a mean over the batch, one sample of z. With beta = 1 the loss is
    the negative ELBO. The KL is analytic if q and p are diagonal Gaussians and sampled otherwise.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        beta: weight of the rate, at least 0.
        free_bits: nats; the loss has max(rate, free_bits) for the mean rate of the batch. None: no free bits.

    Raises:
        UserError: beta or free_bits is negative, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        beta: float | Coefficient,
        free_bits: float | Coefficient | None = None,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        self.beta = coefficient("beta", beta)
        self.free_bits = None if free_bits is None else coefficient("free_bits", free_bits)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        distortion, rate = (term.mean() for term in self.distortion_and_rate(batch["x"]))
        paid = rate if self.free_bits is None else torch.maximum(rate, self.free_bits())
        return {"loss": distortion + self.beta() * paid, "distortion": distortion, "rate": rate}
