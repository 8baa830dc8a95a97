"""Variational autoencoder whose total correlation a discriminator estimates.

Kim & Mnih 2018, "Disentangling by factorising" (1802.05983), eq. 2 and 3, algorithms 1 and 2.
"""

import torch
from torch import Tensor, nn

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import AdversarialModel, ConditionalDistribution, LatentVariableModel, discriminate
from frame.probability.distributions import rsample
from frame.probability.divergences import kl_divergence


class FactorVAE(LatentVariableModel, AdversarialModel):
    """loss = distortion + rate + gamma * total_correlation, with total_correlation = E[log D(z) / (1 - D(z))].

    Nats per sample: sums over pixels and latents, a mean over the batch, one z ~ q(z|x). The adversary D tells
    samples of q(z) from samples of prod_d q(z_d), which are those of a batch with each latent permuted by itself, and
    descends -E[log D(z)] - E[log(1 - D(permuted z))]: 2 log 2 = 1.39 where it cannot tell. Its ratio lags behind q, and
    measures nothing; `TotalCorrelationEvaluation` does.

    Where we differ: the adversary's loss is twice the paper's, as elsewhere here; one logit d with D = sigmoid(d), so
    that log D / (1 - D) = d, and not two; the permuted samples are fresh ones of the same batch and not of a second
    one, which leaves the expectations as they are and makes batches comparable with other models'; the procedure lets
    the adversary step first.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        discriminator: z [B, z_dim] -> logits d(z) [B].
        gamma: weight of the total correlation, at least 0.

    Raises:
        UserError: gamma is negative, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        discriminator: nn.Module,
        gamma: float | Coefficient,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        self.adversary = discriminator
        self.gamma = coefficient("gamma", gamma)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        q_z_given_x = self.encoder(x)
        z = rsample(q_z_given_x)
        distortion = -self.decoder(z).log_prob(x).mean()
        rate = kl_divergence(q_z_given_x, self.p_z(), z).mean()
        # TC = E_q(z)[log D(z) / (1 - D(z))]
        total_correlation = self.adversary(z).mean()
        loss = distortion + rate + self.gamma() * total_correlation
        return {"loss": loss, "distortion": distortion, "rate": rate, "total_correlation": total_correlation}

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        q_z_given_x = self.encoder(batch["x"])
        joint, apart = rsample(q_z_given_x), permuted(rsample(q_z_given_x))
        return discriminate(real=self.adversary(joint), fake=self.adversary(apart))


def permuted(z: Tensor) -> Tensor:
    """z [B, D] with each column in an order of its own."""
    return z.gather(0, torch.rand_like(z).argsort(0))
