"""Adversarial autoencoder.

Makhzani et al. 2015, "Adversarial autoencoders" (1511.05644), section 2: the unsupervised one.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import AdversarialModel, ConditionalDistribution, LatentVariableModel, discriminate
from frame.probability.distributions import rsample


class AAE(LatentVariableModel, AdversarialModel):
    """loss = distortion + weight * generator, with distortion = -E[log p(x|z)] and generator = -E[log D(z)].

    The discriminator learns to tell samples of the prior from codes z ~ q(z|x). It minimises
    -E[log D(z ~ p(z))] - E[log(1 - D(z ~ q(z|x)))], which is 2 log 2 if D = 1/2 everywhere.

    Nats per sample: a sum over pixels, means over the batch, one sample of z. The paper updates the reconstruction and
    the generator one after the other, each with its own learning rate. Here one step minimises their sum.

    Args:
        encoder: q(z|x). It may have all its mass at one point, as in the paper's experiments.
        decoder: p(x|z).
        prior: p(z), called with the encoder. It is only sampled, so its parameters are not trained.
        discriminator: z [B, z_dim] -> logits of D [B].
        weight: weight of the generator's loss, at least 0.

    Raises:
        UserError: weight is negative, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        discriminator: nn.Module,
        weight: float | Coefficient,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        self.adversary = discriminator
        self.weight = coefficient("weight", weight)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        z = rsample(self.encoder(x))  # [B, z_dim]
        distortion = -self.decoder(z).log_prob(x).mean()
        # -log D = softplus(-d)
        generator = F.softplus(-self.adversary(z)).mean()
        return {"loss": distortion + self.weight() * generator, "distortion": distortion, "generator": generator}

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        z = rsample(self.encoder(batch["x"]))
        return discriminate(real=self.adversary(self.sample_prior(len(z))), fake=self.adversary(z))
