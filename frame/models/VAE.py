"""Variational autoencoder.

Kingma & Welling 2014, "Auto-encoding variational Bayes" (1312.6114), eq. 3 with its estimator of eq. 7; the weight
`beta` of the KL is that of Higgins et al. 2017, "beta-VAE", eq. 4. Names of the two terms: Alemi et al. 2018,
"Fixing a broken ELBO" (1711.00464).
"""

from torch import Tensor
from torch.distributions import Distribution

from frame.data.base import Batch
from frame.mistakes import at_least
from frame.models.base import ConditionalDistribution, Model, check_z_dim, kl_divergence, rsample


class VAE(Model):
    """loss = distortion + beta * rate, with distortion = -E[log p(x|z)] and rate = KL(q(z|x) || p(z)).

    Nats per sample: sums over pixels and latents, a mean over the batch, one sample of z. With beta = 1 the loss is
    the negative ELBO. The KL is analytic where q and p are diagonal Gaussians and sampled otherwise.

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called without arguments.
        beta: weight of the rate, at least 0.

    Raises:
        Mistake: beta is negative, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        beta: float,
    ) -> None:
        super().__init__()
        at_least(0, beta=beta)
        check_z_dim(encoder=encoder, decoder=decoder, prior=prior)
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.beta = beta

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        distortion, rate = self._distortion_and_rate(batch["x"])
        distortion, rate = distortion.mean(), rate.mean()
        return {"loss": distortion + self.beta * rate, "distortion": distortion, "rate": rate}

    def _distortion_and_rate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z) for one z ~ q(z|x), and KL(q(z|x) || p(z)); both [B], nats."""
        q_z_given_x = self.encoder(x)
        z = rsample(q_z_given_x)
        p_x_given_z = self.decoder(z)
        return -p_x_given_z.log_prob(x), kl_divergence(q_z_given_x, self.prior(), z)

    def log_likelihood_bound(self, x: Tensor) -> dict[str, Tensor]:
        """'elbo' <= log p(x), 'distortion' and 'rate', each [B], nats; the KL has weight 1 whatever beta is."""
        distortion, rate = self._distortion_and_rate(x)
        return {"elbo": -distortion - rate, "distortion": distortion, "rate": rate}

    def encode(self, x: Tensor) -> Distribution:
        """q(z|x), batch_shape (B,)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Distribution:
        """p(x|z), batch_shape (B,)."""
        return self.decoder(z)

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        """x again, [B, *shape]: through a sample or the mean of q(z|x), a sample or the mean of p(x|z)."""
        q_z_given_x = self.encoder(x)
        z = rsample(q_z_given_x) if sample_latents else q_z_given_x.mean
        p_x_given_z = self.decoder(z)
        return p_x_given_z.sample() if sample_images else p_x_given_z.mean

    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        """[n_samples, *shape]: samples or means of p(x|z), for z ~ p(z)."""
        p_x_given_z = self.decoder(self.prior().sample((n_samples,)))
        return p_x_given_z.sample() if sample_images else p_x_given_z.mean
