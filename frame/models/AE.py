"""Autoencoder: the baseline of methods that put noise or a prior on the code.

Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks", without its pretraining.
"""

from torch import Tensor
from torch.distributions import Distribution

from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EncoderModel, check_z_dim
from frame.probability.distributions import Delta


class AE(EncoderModel):
    """loss = -log p(x | z), with z the mean of q(z|x): a VAE's encoder without its noise, and without a prior.

    Nats per sample: a sum over pixels, a mean over the batch. With a decoder N(x', I) it is half the squared error and
    a constant. The encoder's scales are not used and not trained.

    Args:
        encoder: q(z|x), of which only the mean is used.
        decoder: p(x|z).

    Raises:
        UserError: the networks disagree on z_dim.
    """

    def __init__(self, encoder: ConditionalDistribution, decoder: ConditionalDistribution) -> None:
        super().__init__()
        check_z_dim(encoder=encoder, decoder=decoder)
        self.encoder = encoder
        self.decoder = decoder

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        p_x_given_z = self.decoder(self.encoder(x).mean)
        return {"loss": -p_x_given_z.log_prob(x).mean()}

    def encode(self, x: Tensor, *conditions: Tensor) -> Distribution:
        """All mass at the mean of q(z|x), batch_shape (B,)."""
        return Delta(self.encoder(x).mean)

    def decode(self, z: Tensor) -> Distribution:
        """p(x|z), batch_shape (B,)."""
        return self.decoder(z)

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        """Reconstructions of x, [B, *shape]: samples or means of p(x|z); `sample_latents` has no effect."""
        p_x_given_z = self.decoder(self.encoder(x).mean)
        return p_x_given_z.sample() if sample_images else p_x_given_z.mean
