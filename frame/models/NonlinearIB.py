"""Nonlinear information bottleneck.

Kolchinsky, Tracey & Wolpert 2019, "Nonlinear information bottleneck" (1705.02436), its objective with the pairwise
bound on I(x; m); the reason for the square: Kolchinsky et al. 2019, "Caveats for information bottleneck in
deterministic scenarios" (1808.07593).
"""

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from frame.common.errors import UserError
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, StochasticClassifier
from frame.probability.mutual_information import mixture_information


class NonlinearIB(StochasticClassifier):
    """loss = E[-log p(y|z)] + beta * rate^2, with z ~ q(z|x) and rate an upper bound on I(x; z) without a prior.

    The bound treats the batch as the data. It is computed from the KL between the codes of each pair of rows, and is at
    most the logarithm of the number of rows. If all codes are far apart, it has that value and no gradient.
    `squared=False` penalises the rate itself; then, if y is a function of x, the optimum jumps from all information to
    none at beta = 1. Nats per sample, a mean over the batch. The paper's m is z here. The noise of the paper's encoder
    has one scale; ours has one for each latent.

    Args:
        encoder: q(z|x), a diagonal Gaussian.
        predictor: p(y|z), a Categorical; takes z [S, B, z_dim].
        beta: weight of the rate or its square, at least 0.
        squared: whether the rate is squared.
        n_samples: samples of z for each x in the loss.
        n_samples_predict: samples of z over which `predict` averages the probabilities of the classes.

    Raises:
        UserError: a number is out of range, or the networks disagree on z_dim; in the loss, q(z|x) is not Gaussian.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        predictor: ConditionalDistribution,
        beta: float | Coefficient,
        squared: bool = True,
        n_samples: int = 1,
        n_samples_predict: int = 12,
    ) -> None:
        super().__init__(encoder, predictor, n_samples, n_samples_predict)
        self.beta = coefficient("beta", beta)
        self.squared = squared

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        cross_entropy, q_z_given_x, _ = self.cross_entropy(batch)
        rate = mixture_information(pairwise_kl(q_z_given_x))
        loss = cross_entropy + self.beta() * (rate.square() if self.squared else rate)
        return {"loss": loss, "cross_entropy": cross_entropy, "rate": rate}


def pairwise_kl(q: Distribution) -> Tensor:
    """KL(q_i || q_j) in nats of the diagonal Gaussians in a batch, [N, N]; holds N x N x D numbers.

    Raises:
        UserError: q is something else.
    """
    if not isinstance(q, Independent) or not isinstance(q.base_dist, Normal):
        raise UserError(f"NonlinearIB needs an encoder whose q(z|x) is a diagonal Gaussian, not a {type(q).__name__}")
    loc, scale = q.base_dist.loc, q.base_dist.scale  # [N, D]
    q_i = Normal(loc.unsqueeze(1), scale.unsqueeze(1), validate_args=False)
    q_j = Normal(loc, scale, validate_args=False)
    return kl_divergence(q_i, q_j).sum(-1)
