"""Conditional variational autoencoder: pictures of a given class.

Sohn et al. 2015, "Learning structured output representation using deep conditional generative models" (NeurIPS), eq.
4 and 5. The paper's condition x is the class y here, and its output y the picture x.
"""

import torch
from torch import Tensor

from frame.common.errors import at_least
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, LatentVariableModel, check_same


class ConditionalVAE(LatentVariableModel):
    """loss = distortion + beta * rate, distortion = -E[log p(x|z, y)], rate = KL(q(z|x, y) || p(z|y)).

    Nats per sample, a mean over the batch, one sample of z. With beta = 1 the loss is the negative of a lower bound on
    log p(x|y): better than log p(x) by up to the log of the number of classes, so not comparable with a VAE's.

    Args:
        encoder: q(z|x, y).
        decoder: p(x|z, y).
        prior: p(z|y), called with the encoder and y; one that ignores y, such as DiagonalNormal, is p(z).
        beta: weight of the rate, at least 0.
        n_classes: classes that `sample` draws from.

    Raises:
        UserError: beta is negative, n_classes < 1, or the networks disagree on z_dim or n_classes.
    """

    needs = ("x", "y")
    inputs = ("x", "y")

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        beta: float | Coefficient,
        n_classes: int = 10,
    ) -> None:
        super().__init__(encoder, decoder, prior)
        at_least(1, n_classes=n_classes)
        self.beta = coefficient("beta", beta)
        self.n_classes = n_classes
        check_same("n_classes", encoder=encoder, decoder=decoder, prior=prior, model=self)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        distortion, rate = (term.mean() for term in self.distortion_and_rate(batch["x"], batch["y"]))
        return {"loss": distortion + self.beta() * rate, "distortion": distortion, "rate": rate}

    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        """[n_samples, *shape], class after class: with 100 samples of 10 classes in a square, each row is a class."""
        y = torch.arange(n_samples, device=self.beta().device) * self.n_classes // n_samples
        return self.sample_given(y, sample_images)

    def sample_given(self, y: Tensor, sample_images: bool = False) -> Tensor:
        """Samples or means of p(x|z, y) for each of y [B], z ~ p(z|y): [B, *shape]."""
        p_z = self.p_z(y)
        z = p_z.sample() if p_z.batch_shape else p_z.sample((len(y),))
        p_x_given_z = self.decode(z, y)
        return p_x_given_z.sample() if sample_images else p_x_given_z.mean
