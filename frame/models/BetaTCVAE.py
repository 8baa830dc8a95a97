"""Total-correlation variational autoencoder.

Chen et al. 2018, "Isolating sources of disentanglement in variational autoencoders" (1802.04942), eq. 2 and 4; log q(z)
by minibatch-weighted sampling, eq. 3 and appendix C.1, or minibatch-stratified sampling, appendix C.2.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from frame.common.errors import UserError, at_least, choices
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel
from frame.probability.distributions import rsample

ESTIMATORS = ("weighted", "stratified")


class BetaTCVAE(LatentVariableModel):
    """loss = distortion + alpha * mutual_information + beta * total_correlation + gamma * dimension_wise_kl.

        mutual_information = KL(q(z, n) || q(z) p(n)) = E[log q(z|x) - log q(z)]
        total_correlation  = KL(q(z) || prod_d q(z_d)) = E[log q(z) - sum_d log q(z_d)]
        dimension_wise_kl  = sum_d KL(q(z_d) || p(z_d)) = E[sum_d log q(z_d) - log p(z)]

    Nats per sample, a mean over the batch, one z ~ q(z|x). The three add up to log q(z|x) - log p(z): with all weights
    1 the loss is the negative ELBO with a sampled KL, whatever the estimator. Each single part is biased, because it
    estimates log q(z) from few of the `n_data` pictures; total_correlation is wrong by tens of nats. The parts are
    a training signal, not a measurement; to measure, use `TotalCorrelationEvaluation`.

    In the paper's appendix, a picture's own component has weight 1 / N. The authors' code gives this weight to the
    first picture of the batch; we follow the appendix.

    Args:
        encoder: q(z|x), diagonal and Gaussian.
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        alpha: weight of the mutual information, at least 0.
        beta: weight of the total correlation, at least 0.
        gamma: weight of the dimension-wise KL, at least 0.
        n_data: N, pictures in the training data.
        estimator: 'weighted' or 'stratified'.

    Raises:
        UserError: a weight is negative, n_data < 1, an unknown estimator, networks that disagree on z_dim, or in the
            loss, an encoder of another kind.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        alpha: float | Coefficient,
        beta: float | Coefficient,
        gamma: float | Coefficient,
        n_data: int,
        estimator: str = "weighted",
    ) -> None:
        super().__init__(encoder, decoder, prior)
        at_least(1, n_data=n_data)
        if estimator not in ESTIMATORS:
            raise UserError(choices(str(estimator), ESTIMATORS, kind="estimator"))
        self.alpha = coefficient("alpha", alpha)
        self.beta = coefficient("beta", beta)
        self.gamma = coefficient("gamma", gamma)
        self.n_data = n_data
        self.estimator = estimator

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        q_z_given_x = self.encoder(x)
        z = rsample(q_z_given_x)  # [B, D]
        distortion = -self.decoder(z).log_prob(x).mean()
        log_q, log_q_z, log_q_z_d = self.log_densities(q_z_given_x, z)
        mutual_information = (log_q - log_q_z).mean()
        total_correlation = (log_q_z - log_q_z_d).mean()
        dimension_wise_kl = (log_q_z_d - self.p_z().log_prob(z)).mean()
        # loss = -E log p(x|z) + alpha I(z; n) + beta TC + gamma sum_d KL(q(z_d) || p(z_d))
        rest = self.alpha() * mutual_information + self.beta() * total_correlation + self.gamma() * dimension_wise_kl
        return {
            "loss": distortion + rest,
            "distortion": distortion,
            "mutual_information": mutual_information,
            "total_correlation": total_correlation,
            "dimension_wise_kl": dimension_wise_kl,
        }

    def log_densities(self, q_z_given_x: Distribution, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log q(z|x), log q(z) and sum_d log q(z_d), each [B], the last two from the batch's B components."""
        q = q_z_given_x.base_dist if isinstance(q_z_given_x, Independent) else None
        if not isinstance(q, Normal):
            raise UserError("BetaTCVAE needs an encoder that gives diagonal Gaussians: architectures/encoder=mlp, say")
        log_q = q.log_prob(z.unsqueeze(1))  # [B, B, D]: log q(z_id | x_j)
        log_w = self.log_weights_of_components(len(z), z)  # [B, B]
        log_q_z = (log_w + log_q.sum(-1)).logsumexp(1)
        log_q_z_d = (log_w.unsqueeze(-1) + log_q).logsumexp(1).sum(-1)
        return log_q.sum(-1).diagonal(), log_q_z, log_q_z_d

    def log_weights_of_components(self, n: int, like: Tensor) -> Tensor:
        """log w with q(z_i) = sum_j w_ij q(z_i | x_j), for a batch of n pictures: [n, n]."""
        if self.estimator == "weighted":
            # w = 1 / (N B)
            return like.new_full((n, n), -math.log(self.n_data * n))
        # weights: 1/N for the picture itself, 1/M for all others but one, M = B - 1, and the rest for the next picture
        m = max(n - 1, 1)
        w = like.new_full((n, n), 1 / m)
        own = torch.eye(n, dtype=torch.bool, device=like.device)
        return w.masked_fill(own.roll(1, 1), max(0.0, 1 / m - 1 / self.n_data)).masked_fill(own, 1 / self.n_data).log()
