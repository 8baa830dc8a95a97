"""VAE that matches the distribution of all codes to the prior.

Zhao, Song & Ermon 2019, "InfoVAE" (1706.02262): the family's objective in the form that can be sampled, with MMD as
the divergence. With alpha = 1 it is WAE-MMD of Tolstikhin et al. 2018, "Wasserstein auto-encoders" (1711.01558),
algorithm 2, with weight lambda.
"""

from functools import partial
from typing import Literal

from torch import Tensor

from frame.common.errors import UserError, choices
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel
from frame.probability.distributions import rsample
from frame.probability.divergences import imq, kl_divergence, mmd, rbf

KERNELS = {"rbf": rbf, "imq": imq}


class InfoVAE(LatentVariableModel):
    """loss = distortion + (1 - alpha) * rate + (alpha + lambda - 1) * MMD^2(q(z), p(z)).

    distortion = -E[log p(x|z)] and rate = KL(q(z|x) || p(z)) in nats per sample: sums over pixels and latents, a mean
    over the batch, one sample of z. MMD^2 is the unbiased estimate from the batch's samples and as many of the prior;
    it may be negative. alpha = 0, lambda = 1 is the VAE; alpha = 1 is WAE-MMD, without a KL.

    The kernel's width is 2 z_dim * kernel_scale, where 2 z_dim is the mean squared distance of two codes from N(0, I).

    Args:
        encoder: q(z|x).
        decoder: p(x|z).
        prior: p(z), called with the encoder. One without reparametrised samples, such as a mixture, learns from
            the rate alone.
        alpha: the rate has the weight 1 - alpha; at most 1, and it may be negative.
        lambda_: the paper's lambda, at least 1 - alpha.
        kernel: 'imq', width / (width + d^2), or 'rbf', exp(-d^2 / width).
        kernel_scale: of the kernel's width, above 0.

    Raises:
        UserError: a number is out of range, there is no such kernel, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        alpha: float | Coefficient,
        lambda_: float | Coefficient,
        kernel: Literal["imq", "rbf"] = "imq",
        kernel_scale: float = 1.0,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        self.alpha = coefficient("alpha", alpha, low=float("-inf"))
        self.lambda_ = coefficient("lambda_", lambda_)
        low, high = self.alpha.bounds
        if high > 1:
            raise UserError(f"alpha={high:g}: it must be at most 1, since the rate's weight is 1 - alpha")
        if low + self.lambda_.bounds[0] < 1:
            raise UserError(f"lambda_={self.lambda_.bounds[0]:g}: it must be at least 1 - alpha = {1 - low:g}")
        if kernel not in KERNELS:
            raise UserError(choices(str(kernel), KERNELS, kind="kernel"))
        if not kernel_scale > 0:
            raise UserError(f"kernel_scale={kernel_scale}: it must be above 0")
        self.kernel, self.kernel_scale = KERNELS[kernel], kernel_scale

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        q_z_given_x = self.encoder(x)
        z = rsample(q_z_given_x)  # [B, z_dim]
        distortion = -self.decoder(z).log_prob(x).mean()
        rate = kl_divergence(q_z_given_x, self.p_z(), z).mean()
        divergence = self.divergence(z)
        alpha, lambda_ = self.alpha(), self.lambda_()
        # maximised: E[log p(x|z)] - (1 - alpha) E[KL(q(z|x) || p(z))] - (alpha + lambda - 1) D(q(z) || p(z))
        loss = distortion + (1 - alpha) * rate + (alpha + lambda_ - 1) * divergence
        return {"loss": loss, "distortion": distortion, "rate": rate, "mmd": divergence}

    def divergence(self, z: Tensor) -> Tensor:
        """Unbiased MMD^2 of the codes z [B, z_dim] and samples of the prior, shape ()."""
        width = 2 * z.shape[-1] * self.kernel_scale
        return mmd(z, self.sample_prior(len(z)), partial(self.kernel, width=width))
