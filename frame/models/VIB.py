"""Deep variational information bottleneck.

Alemi et al. 2017, "Deep variational information bottleneck" (1612.00410), eq. 17.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from frame.coefficients import Coefficient, coefficient
from frame.data.base import Batch
from frame.mistakes import at_least
from frame.models.base import ConditionalDistribution, Model, check_z_dim, features, kl_divergence, rsample


class VIB(Model):
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
        Mistake: a number is out of range, or the networks disagree on z_dim.
    """

    needs = ("x", "y")

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        prior: ConditionalDistribution,
        beta: float | Coefficient,
        n_samples: int = 1,
        n_samples_predict: int = 12,
    ) -> None:
        super().__init__()
        at_least(1, n_samples=n_samples, n_samples_predict=n_samples_predict)
        check_z_dim(encoder=encoder, predictor=predictor, prior=prior)
        self.encoder = encoder
        self.predictor = predictor
        self.prior = prior
        self.beta = coefficient("beta", beta)
        self.n_samples = n_samples
        self.n_samples_predict = n_samples_predict

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        q_z_given_x = self.encoder(batch["x"])
        z = rsample(q_z_given_x.expand((self.n_samples, *q_z_given_x.batch_shape)))  # [S, B, z_dim]
        p_y_given_z = self.predictor(z)
        cross_entropy = -p_y_given_z.log_prob(batch["y"]).mean()
        rate = kl_divergence(q_z_given_x, self.prior(self.encoder), z).mean()
        return {"loss": cross_entropy + self.beta() * rate, "cross_entropy": cross_entropy, "rate": rate}

    def encode(self, x: Tensor) -> Distribution:
        """q(z|x), batch_shape (B,)."""
        return self.encoder(x)

    def features(self, x: Tensor) -> Tensor:
        """The encoder's layer before its output, [B, n]."""
        return features(self.encoder, x)

    def predict(self, x: Tensor) -> Tensor:
        """log p(y|x) [B, n_classes], p(y|x) the mean of p(y|z) over `n_samples_predict` samples of q(z|x)."""
        q_z_given_x = self.encoder(x)
        # One sample at a time: all at once would hold n_samples_predict x B x z_dim numbers
        log_p = torch.stack([self.predictor(rsample(q_z_given_x)).logits for _ in range(self.n_samples_predict)])
        return log_p.logsumexp(0) - math.log(self.n_samples_predict)
