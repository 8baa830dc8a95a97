"""What a model is: an objective on a batch. It knows no data set, no architecture and no optimizer."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from frame.data.base import Batch


class Model(nn.Module):
    """An objective. Networks and coefficients come through the constructor, under the names of the YAML keys.

    `forward` is a function of parameters, buffers, the batch and noise: no `.item()`, no Python branch on a
    tensor's value, noise through `rsample`. So one file can be compiled, captured in a CUDA graph or stacked
    (`torch.func.functional_call` and `vmap`). A model that cannot be stacked sets `vectorisable = False` and says why.
    """

    vectorisable: bool = True
    needs: tuple[str, ...] = ("x",)  # the batch's keys that the loss reads

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """'loss' is differentiated, the rest is logged; scalars, means over the batch, nats per sample."""
        return self.compute_loss(batch)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        raise NotImplementedError

    def after_update(self, iteration: int) -> None:
        """Called after each optimizer step: teacher, queue, codebook, schedule. Writes buffers; nothing by default."""


class AdversarialModel(Model):
    """Two players: the parameters of `adversary` play against all the others."""

    adversary: nn.Module

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        """The adversary's losses; 'loss' is differentiated with respect to its parameters only."""
        raise NotImplementedError


class ConditionalDistribution(nn.Module):
    """A network whose output is a distribution, batch_shape (B,)."""

    def forward(self, *given: Tensor) -> Distribution:
        raise NotImplementedError


def rsample(distribution: Distribution) -> Tensor:
    """A reparametrised sample, shape batch_shape + event_shape.

    Gaussian noise is drawn by `randn_like`, because the in-place noise inside `Normal.rsample` cannot be vectorised.
    """
    base = distribution.base_dist if isinstance(distribution, Independent) else distribution
    if isinstance(base, Normal):
        # z = mu + sigma * eps
        return base.loc + base.scale * torch.randn_like(base.loc)
    return distribution.rsample()
