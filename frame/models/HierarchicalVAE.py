"""VAE with two layers of latents.

Burda et al. 2015, "Importance weighted autoencoders" (1509.00519), eq. 1 and 3 with two stochastic layers: both
q(z1|x) q(z2|z1) and p(z2) p(z1|z2) p(x|z1) are chains. It is the baseline of Sonderby et al. 2016 (1602.02282), who
raise beta from 0 during training.
"""

from torch import Tensor
from torch.distributions import Distribution

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel, Model, check_z_dim
from frame.probability.distributions import rsample
from frame.probability.divergences import kl_divergence


class HierarchicalVAE(LatentVariableModel):
    """loss = distortion + beta * (rate_1 + rate_2), for z1 ~ q(z1|x), z2 ~ q(z2|z1).

    distortion = -log p(x|z1), rate_1 = log q(z1|x) - log p(z1|z2), rate_2 = KL(q(z2|z1) || p(z2)), analytic between
    Gaussians. Nats per sample, a mean over the batch. rate_1 is sampled, since z2 depends on z1.
    `encode`, `features` and `reconstruct` use the layer next to the picture, q(z1|x).

    Args:
        encoder: q(z1|x).
        encoder_2: q(z2|z1), z1 [..., z_dim].
        decoder_2: p(z1|z2), z2 [..., z_dim of the second layer].
        decoder: p(x|z1).
        prior: p(z2), called with encoder_2.
        beta: weight of the rates, at least 0.

    Raises:
        UserError: beta is negative, or the networks of one layer disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        encoder_2: ConditionalDistribution,
        decoder_2: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        beta: float | Coefficient,
    ) -> None:
        Model.__init__(self)  # LatentVariableModel's would compare z_dim between the layers
        check_z_dim(encoder=encoder, decoder_2=decoder_2, decoder=decoder)
        check_z_dim(encoder_2=encoder_2, prior=prior)
        self.encoder = encoder
        self.encoder_2 = encoder_2
        self.decoder_2 = decoder_2
        self.decoder = decoder
        self.prior = prior
        self.beta = coefficient("beta", beta)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        bound = self.log_likelihood_bound(batch["x"])
        distortion, rate, rate_1, rate_2 = (bound[key].mean() for key in ("distortion", "rate", "rate_1", "rate_2"))
        loss = distortion + self.beta() * rate
        return {"loss": loss, "distortion": distortion, "rate": rate, "rate_1": rate_1, "rate_2": rate_2}

    def log_likelihood_bound(self, x: Tensor, *conditions: Tensor) -> dict[str, Tensor]:
        """'elbo' <= log p(x), 'distortion', 'rate' and its parts 'rate_1' and 'rate_2', each [B], nats."""
        q_z1_given_x = self.encoder(x)
        z1 = rsample(q_z1_given_x)
        q_z2_given_z1 = self.encoder_2(z1)
        z2 = rsample(q_z2_given_z1)
        distortion = -self.decoder(z1).log_prob(x)
        rate_1 = q_z1_given_x.log_prob(z1) - self.decoder_2(z2).log_prob(z1)
        rate_2 = kl_divergence(q_z2_given_z1, self.p_z(), z2)
        rate = rate_1 + rate_2
        return {"elbo": -distortion - rate, "distortion": distortion, "rate": rate, "rate_1": rate_1, "rate_2": rate_2}

    def log_weights(self, x: Tensor, *conditions: Tensor, n_samples: int) -> Tensor:
        """log p(x, z1, z2) - log q(z1, z2|x) for `n_samples` pairs of latents each: [n_samples, B], nats."""
        q_z1_given_x = self.encoder(x)
        q_z1_given_x = q_z1_given_x.expand((n_samples, *q_z1_given_x.batch_shape))
        z1 = rsample(q_z1_given_x)  # [S, B, z_dim]
        q_z2_given_z1 = self.encoder_2(z1)
        z2 = rsample(q_z2_given_z1)
        # log w = log p(x|z1) + log p(z1|z2) + log p(z2) - log q(z1|x) - log q(z2|z1)
        log_p = self.log_p_x(z1, x) + self.decoder_2(z2).log_prob(z1) + self.p_z().log_prob(z2)
        return log_p - q_z1_given_x.log_prob(z1) - q_z2_given_z1.log_prob(z2)

    def p_z(self, *conditions: Tensor) -> Distribution:
        """p(z2), batch_shape ()."""
        return self.prior(encoder=self.encoder_2)

    def sample_prior(self, n_samples: int) -> Tensor:
        """z1 ~ p(z1|z2) with z2 ~ p(z2), [n_samples, z_dim], as `encode`."""
        return self.decoder_2(self.p_z().sample((n_samples,))).sample()
