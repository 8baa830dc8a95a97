"""VAE whose codes are uncorrelated over the data.

Kumar et al. 2018, "Variational inference of disentangled latent concepts from unlabeled observations" (1711.00848),
eq. 6 (DIP-VAE-I) and eq. 7 (DIP-VAE-II).
"""

from typing import Literal

import torch
from torch import Tensor

from frame.common.errors import UserError, choices
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel
from frame.probability.distributions import rsample
from frame.probability.divergences import kl_divergence

CODES = ("mean", "sampled")


class DIPVAE(LatentVariableModel):
    """loss = distortion + rate + lambda_od * (off-diagonal squares of S) + lambda_d * (squares of diag(S) - 1).

    distortion = -E[log p(x|z)] and rate = KL(q(z|x) || p(z)) in nats per sample: sums over pixels and latents, a mean
    over the batch, one sample of z. S is the batch's covariance of the codes' means, or of the codes themselves.

    S divides by B after the batch's mean is subtracted, so it underestimates the covariance of the data by a factor of
    1 - 1/B. For independent codes of variance 1 the off-diagonal squares are about D (D - 1) / B and not 0, so small
    batches add to the loss. Each of several processes uses its own batch.

    Args:
        encoder: q(z|x), with a diagonal covariance.
        decoder: p(x|z).
        prior: p(z), called with the encoder, which only a VampPrior uses.
        lambda_od: weight of the squares off S's diagonal, at least 0.
        lambda_d: weight of the squares of S's diagonal less 1, at least 0.
        codes: 'mean', S = Cov[mu(x)], which is DIP-VAE-I; 'sampled', S = Cov[z] = Cov[mu(x)] + E[diag(sigma(x)^2)],
            which is DIP-VAE-II.

    Raises:
        UserError: a weight is negative, `codes` is unknown, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        lambda_od: float | Coefficient,
        lambda_d: float | Coefficient,
        codes: Literal["mean", "sampled"],
    ) -> None:
        super().__init__(encoder, decoder, prior)
        if codes not in CODES:
            raise UserError(choices(str(codes), CODES, kind="codes"))
        self.lambda_od = coefficient("lambda_od", lambda_od)
        self.lambda_d = coefficient("lambda_d", lambda_d)
        self.codes = codes

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        q_z_given_x = self.encoder(x)
        z = rsample(q_z_given_x)
        distortion = -self.decoder(z).log_prob(x).mean()
        rate = kl_divergence(q_z_given_x, self.p_z(), z).mean()
        # Cov[mu] = E[mu mu'] - E[mu] E[mu]'
        centred = q_z_given_x.mean - q_z_given_x.mean.mean(0)  # [B, D]
        with torch.autocast(x.device.type, enabled=False):  # or the product is rounded to bfloat16
            covariance = centred.T @ centred / len(centred)  # [D, D]
        if self.codes == "sampled":
            # Cov[z] = Cov[E[z|x]] + E[Cov[z|x]]
            covariance = covariance + q_z_given_x.variance.mean(0).diag()
        off_diagonal, diagonal = squares(covariance)
        loss = distortion + rate + self.lambda_od() * off_diagonal + self.lambda_d() * diagonal
        return {
            "loss": loss,
            "distortion": distortion,
            "rate": rate,
            "off_diagonal": off_diagonal,
            "diagonal": diagonal,
        }


def squares(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Of S [D, D]: the sum of S_ij^2 over i != j, and of (S_ii - 1)^2."""
    diagonal = covariance.diagonal()
    off_diagonal = covariance - torch.diag(diagonal)
    return off_diagonal.square().sum(), (diagonal - 1).square().sum()
