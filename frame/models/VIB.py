"""Deep variational information bottleneck.

Alemi et al. 2017, "Deep variational information bottleneck" (1612.00410), eq. 17.
"""

from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, StochasticClassifier, check_z_dim
from frame.probability.distributions import rsample
from frame.probability.divergences import kl_divergence


class VIB(StochasticClassifier):
    """loss = E[-log p(y|z)] + beta * KL(q(z|x) || p(z)), with z ~ q(z|x).

    Nats per sample, a mean over the batch. The paper's q(y|z) is called p(y|z) here, its r(z) p(z), its p(z|x) q(z|x).

    Args:
        encoder: q(z|x).
        predictor: p(y|z), a Categorical; takes z [S, B, z_dim].
        prior: p(z), called with the encoder, which only a VampPrior uses.
        beta: weight of the rate, at least 0.
        n_samples: samples of z for each x in the loss.
        n_samples_predict: samples of z over which `predict` averages the probabilities of the classes.

    Raises:
        UserError: a number is out of range, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        prior: ConditionalDistribution,
        beta: float | Coefficient,
        n_samples: int = 1,
        n_samples_predict: int = 12,
    ) -> None:
        super().__init__(encoder, predictor, n_samples, n_samples_predict)
        check_z_dim(encoder=encoder, prior=prior)
        self.prior = prior
        self.beta = coefficient("beta", beta)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        cross_entropy, q_z_given_x, z = self.cross_entropy(batch)
        rate = kl_divergence(q_z_given_x, self.prior(encoder=self.encoder), z).mean()
        return {"loss": cross_entropy + self.beta() * rate, "cross_entropy": cross_entropy, "rate": rate}

    def rate(self, x: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)), [B], nats."""
        q_z_given_x = self.encoder(x)
        return kl_divergence(q_z_given_x, self.prior(encoder=self.encoder), rsample(q_z_given_x))
