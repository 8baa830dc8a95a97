"""Variational autoencoder with a penalty on the total correlation, which a discriminator estimates.

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

    Nats per sample: sums over pixels and latents, a mean over the batch, one z ~ q(z|x). The adversary D learns to
    tell samples of q(z) from samples of prod_d q(z_d), which are codes of a batch with each latent permuted separately.
    It minimises -E[log D(z)] - E[log(1 - D(permuted z))], which is 2 log 2 = 1.39 if it cannot tell them apart. Its
    ratio lags behind q and is not a measurement; to measure, use `TotalCorrelationEvaluation`.

    Deviations: the adversary's loss is twice the paper's, as in our other adversarial models. It has one logit d with
    D = sigmoid(d), so that log D / (1 - D) = d, instead of two. The permuted samples are new samples of the same batch
    instead of a second batch; expectations are the same, and batches have the same size as in other models. The
    adversary steps first.

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
    """z [B, D] with each column permuted separately."""
    return z.gather(0, torch.rand_like(z).argsort(0))
