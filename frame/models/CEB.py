"""Conditional entropy bottleneck.

Fischer 2020, "The conditional entropy bottleneck" (2002.05379), its variational objective: the residual information
I(x; z | y) bounded from above, I(y; z) from below; the weight is that of Fischer & Alemi 2020, "CEB improves model
robustness" (2002.05380).
"""

from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, StochasticClassifier, check_z_dim
from frame.probability.divergences import kl_divergence


class CEB(StochasticClassifier):
    """loss = E[-log p(y|z)] + beta * KL(q(z|x) || p(z|y)), with z ~ q(z|x).

    The KL, 'residual', is an upper bound on I(x; z | y), the information of z about x beyond y; VIB's rate bounds all
    of I(x; z). Nats per sample, a mean over the batch. The paper's e(z|x), b(z|y) and c(y|z) are called q(z|x), p(z|y)
    and p(y|z) here; beta = 1 / gamma = exp(-rho), and 1 is the paper's minimum necessary information. The KL is
    analytic between diagonal Gaussians; the paper has log e(z|x) - log b(z|y) at the samples.

    Args:
        encoder: q(z|x).
        predictor: p(y|z), a Categorical; takes z [S, B, z_dim].
        backward_encoder: p(z|y), called with y.
        beta: weight of the residual, at least 0.
        n_samples: samples of z for each x in the loss.
        n_samples_predict: samples of z over which `predict` averages the probabilities of the classes.

    Raises:
        UserError: a number is out of range, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        backward_encoder: ConditionalDistribution,
        beta: float | Coefficient,
        n_samples: int = 1,
        n_samples_predict: int = 12,
    ) -> None:
        super().__init__(encoder, predictor, n_samples, n_samples_predict)
        check_z_dim(encoder=encoder, backward_encoder=backward_encoder)
        self.backward_encoder = backward_encoder
        self.beta = coefficient("beta", beta)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        cross_entropy, q_z_given_x, z = self.cross_entropy(batch)
        # I(x; z | y) <= E[log q(z|x) - log p(z|y)]
        residual = kl_divergence(q_z_given_x, self.backward_encoder(batch["y"]), z).mean()
        return {"loss": cross_entropy + self.beta() * residual, "cross_entropy": cross_entropy, "residual": residual}
