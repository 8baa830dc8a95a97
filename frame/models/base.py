"""What a model is: an objective on a batch. It knows no data set, no architecture and no optimizer."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from frame.data.base import Batch
from frame.mistakes import Mistake


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


def kl_divergence(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p) in nats, the shape of q.log_prob(z) or broadcastable with it; z is a sample of q.

    Analytic where both are diagonal Gaussians, else the one-sample estimate log q(z) - log p(z).
    """
    if _is_diagonal_normal(q) and _is_diagonal_normal(p):
        return torch.distributions.kl_divergence(q, p)
    return q.log_prob(z) - p.log_prob(z)


def _is_diagonal_normal(distribution: Distribution) -> bool:
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)


def check_z_dim(**networks: nn.Module) -> None:
    """Raises Mistake where the named networks that have a `z_dim` do not agree on it."""
    sizes = {name: network.z_dim for name, network in networks.items() if hasattr(network, "z_dim")}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise Mistake(f"z_dim differs ({listed}): give all of them the same, such as ${{params.z_dim}}")
