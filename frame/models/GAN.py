"""Generative adversarial network, with the non-saturating loss.

Goodfellow et al. 2014, "Generative adversarial nets" (1406.2661), eq. 1 and, for the generator, the end of section 3.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, GenerativeAdversarialModel, check_z_dim, discriminate


class GAN(GenerativeAdversarialModel):
    """The discriminator minimises -E[log D(x)] - E[log(1 - D(G(z)))], the generator -E[log D(G(z))]; D = sigmoid(d).

    Nats, means over the batch; each player draws its own z ~ p(z). If the pictures cannot be told apart, D is 1/2, the
    adversary's loss 2 log 2 = 1.39 and the generator's log 2.

    Args:
        generator: G(z), a network whose distribution has all its mass at one picture.
        discriminator: x [B, *shape] -> logits d(x) [B].
        prior: p(z).

    Raises:
        UserError: the networks disagree on z_dim.
    """

    def __init__(
        self, generator: ConditionalDistribution, discriminator: nn.Module, prior: ConditionalDistribution
    ) -> None:
        super().__init__(generator, discriminator, prior)
        check_z_dim(generator=generator, prior=prior)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        fake = self.generate(self.latents(len(batch["x"])))
        # -log D = softplus(-d), whose gradient stays large if D is confident
        return {"loss": F.softplus(-self.adversary(fake)).mean()}

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        fake = self.generate(self.latents(len(batch["x"])))
        return discriminate(real=self.adversary(batch["x"]), fake=self.adversary(fake))
