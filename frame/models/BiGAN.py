"""Bidirectional GAN: an encoder learns to invert the generator, since the discriminator sees pairs (x, z).

Donahue et al. 2017, "Adversarial feature learning" (1605.09782), eq. 3, with the loss for G and E of its section 3.4.
"""

from torch import Tensor, nn

from frame.data.base import Batch
from frame.models.base import (
    ConditionalDistribution,
    EncoderModel,
    GenerativeAdversarialModel,
    check_z_dim,
    discriminate,
)
from frame.probability.distributions import rsample


class BiGAN(GenerativeAdversarialModel, EncoderModel):
    """D tells pairs (x, E(x)) from pairs (G(z), z); E and G together minimise its loss with the two exchanged.

    The adversary minimises -E[log D(x, E(x))] - E[log(1 - D(G(z), z))], encoder and generator
    -E[log(1 - D(x, E(x)))] - E[log D(G(z), z)]; D = sigmoid(d). Nats, means over the batch; both are
    2 log 2 = 1.39 if D cannot tell the pairs apart.

    Args:
        encoder: E(x), with all its mass at one z; q(z|x) works too, and is sampled.
        generator: G(z), a network whose distribution has all its mass at one picture.
        discriminator: x [B, *shape], z [B, z_dim] -> logits d(x, z) [B].
        prior: p(z).

    Raises:
        UserError: the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        generator: ConditionalDistribution,
        discriminator: nn.Module,
        prior: ConditionalDistribution,
    ) -> None:
        super().__init__(generator, discriminator, prior)
        check_z_dim(encoder=encoder, generator=generator, prior=prior)
        self.encoder = encoder

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """d(x, E(x)) and d(G(z), z), each [B]."""
        z = self.latents(len(x))
        return self.adversary(x, rsample(self.encoder(x))), self.adversary(self.generate(z), z)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        real, fake = self.logits(batch["x"])
        return {"loss": discriminate(real=fake, fake=real)["loss"]}  # the two exchanged

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        real, fake = self.logits(batch["x"])
        return discriminate(real, fake)

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        """G(E(x)), [B, *shape]; nothing is sampled unless the encoder is a distribution."""
        q_z_given_x = self.encode(x)
        return self.generate(rsample(q_z_given_x) if sample_latents else q_z_given_x.mean)
