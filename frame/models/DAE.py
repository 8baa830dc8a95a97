"""Denoising autoencoder: the code of a corrupted x has to give x itself.

Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders" (ICML), eq. 5, and Vincent
et al. 2010, "Stacked denoising autoencoders" (JMLR 11), section 3.3, for the kinds of noise.
"""

import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.AE import AE
from frame.models.base import ConditionalDistribution


class DAE(AE):
    """loss = -log p(x | z), with z the mean of q(z|x~), and x~ = x with values set to 0 and Gaussian noise added.

    Nats per sample, as in `AE`, to which it is equal without corruption. Each value is set to 0 with probability `drop`
    (the paper's masking noise sets a fixed number of values to 0), and then N(0, noise^2) is added to all of them.
    Noise is drawn anew in each step. `encode` and `reconstruct` take x as it is.

    Args:
        encoder: q(z|x), of which only the mean is used.
        decoder: p(x|z).
        drop: probability, in [0, 1); it may follow a schedule.
        noise: standard deviation, at least 0.

    Raises:
        UserError: a number is out of range, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        drop: float | Coefficient = 0.25,
        noise: float | Coefficient = 0.0,
    ) -> None:
        super().__init__(encoder, decoder)
        self.drop, self.noise = coefficient("drop", drop), coefficient("noise", noise)
        if self.drop.bounds[1] >= 1:
            raise UserError(f"drop={self.drop.bounds[1]:g}: it must lie below 1, or nothing is left of x")

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        p_x_given_z = self.decoder(self.encoder(self.corrupted(x)).mean)
        return {"loss": -p_x_given_z.log_prob(x).mean()}

    def corrupted(self, x: Tensor) -> Tensor:
        """x~, of the shape of x."""
        kept = (torch.rand_like(x) >= self.drop()).to(x.dtype)
        return kept * x + self.noise() * torch.randn_like(x)
