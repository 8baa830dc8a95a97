"""Wasserstein GAN with a penalty that keeps the norm of the critic's gradient near 1.

Gulrajani et al. 2017, "Improved training of Wasserstein GANs" (1704.00028), eq. 3 and algorithm 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import grad

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, GenerativeAdversarialModel, check_z_dim


class WGAN_GP(GenerativeAdversarialModel):
    """The critic minimises E[f(G(z))] - E[f(x)] + lambda * E[(||grad f(x_hat)|| - 1)^2], the generator -E[f(G(z))].

    x_hat is a random point between a picture and a G(z). 'gap', E[f(x)] - E[f(G(z))], estimates the Wasserstein
    distance of the two, in the units of the pictures' Euclidean distance; it should shrink during training.

    Args:
        generator: G(z), a network whose distribution has all its mass at one picture.
        critic: x [B, *shape] -> f(x) [B]; rows must be independent, so no batch normalisation.
        prior: p(z).
        penalty_weight: lambda, 10 in the paper.

    Raises:
        UserError: penalty_weight is negative, or the networks disagree on z_dim.
    """

    def __init__(
        self,
        generator: ConditionalDistribution,
        critic: nn.Module,
        prior: ConditionalDistribution,
        penalty_weight: float | Coefficient = 10.0,
    ) -> None:
        super().__init__(generator, critic, prior)
        check_z_dim(generator=generator, prior=prior)
        self.penalty_weight = coefficient("penalty_weight", penalty_weight)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        fake = self.generate(self.latents(len(batch["x"])))
        return {"loss": -self.adversary(fake).mean()}

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        fake = self.generate(self.latents(len(x)))
        gap = self.adversary(x).mean() - self.adversary(fake).mean()
        norm = slopes(self.adversary, between(x, fake))
        penalty = (norm - 1).square().mean()
        loss = -gap + self.penalty_weight() * penalty
        return {"loss": loss, "gap": gap, "penalty": penalty, "slope": norm.mean()}


def between(x: Tensor, fake: Tensor) -> Tensor:
    """x_hat = epsilon x + (1 - epsilon) fake, one epsilon ~ U[0, 1] for each row."""
    epsilon = torch.rand_like(x.flatten(1)[:, 0]).view(-1, *[1] * (x.dim() - 1))  # [B, 1, ...]
    return epsilon * x + (1 - epsilon) * fake


def slopes(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """||df/dx|| of each row, [B], which can be differentiated with respect to the critic's weights.

    torch.func composes with vmap, torch.autograd.grad does not. Rows are independent, so the gradient of their sum is
    that of each.
    """
    gradient = grad(lambda rows: critic(rows).sum())(x)
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)
