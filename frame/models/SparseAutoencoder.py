"""Sparse autoencoder: each picture is a sum of a few atoms of a large dictionary.

Makhzani & Frey 2013, "k-sparse autoencoders" (1312.5663); Gao et al. 2024, "Scaling and evaluating sparse autoencoders"
(2406.04093), section 2.3, with the second loss of its appendix A.2 that revives dead units.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import UserError, at_least
from frame.common.ranks import sum_over_ranks
from frame.common.schedules import Coefficient, coefficient
from frame.common.sizes import Size, n_values
from frame.data.base import Batch
from frame.models.base import Model
from frame.probability.distributions import Delta


class SparseAutoencoder(Model):
    """loss = |x - x'|^2 + aux_weight * |(x - x') - e'|^2, with x' = W_dec TopK(W_enc (x - b) + b_enc) + b.

    TopK keeps the k largest units of each picture and sets the others to 0, so no penalty for sparsity is needed. e' is
    the reconstruction of the error x - x' by the k_aux largest dead units, which revives them. Squared errors are sums
    over pixels and means over the batch: twice the nats of N(x', I), up to a constant.

    x is flattened. Active units are not clipped at 0; if k is much smaller than n_units, they are positive anyway. The
    columns of W_dec are divided by their norms whenever they are used; the paper does so after each step.

    Args:
        n_in: numbers in a row of x, or its shape.
        n_units: atoms of the dictionary.
        k: active units for each row.
        k_aux: dead units that reconstruct the error; about n_in / 2 in the paper.
        aux_weight: weight of the second loss, at least 0; 1/32 in the paper.
        dead_after: a unit is dead if it was 0 for all rows of this many updates.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self, n_in: Size, n_units: int, k: int, k_aux: int, aux_weight: float | Coefficient, dead_after: int
    ) -> None:
        super().__init__()
        n_in = n_values(n_in=n_in)
        at_least(1, n_units=n_units, k=k, k_aux=k_aux, dead_after=dead_after)
        if max(k, k_aux) > n_units:
            raise UserError(f"k={k} and k_aux={k_aux} of n_units={n_units}: there are fewer units")
        self.k, self.k_aux, self.dead_after = k, k_aux, dead_after
        self.aux_weight = coefficient("aux_weight", aux_weight)
        self.encoder = nn.Linear(n_in, n_units)
        self.atoms = nn.Parameter(torch.empty(n_in, n_units))  # W_dec
        self.centre = nn.Parameter(torch.empty(n_in))  # b
        self.reset_parameters()
        self.at_work = nn.Buffer(torch.zeros(n_units))  # rows since the last update in which the unit was not 0
        self.idle = nn.Buffer(torch.zeros(n_units))  # updates since the unit was last active

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The initial weights; W_enc starts as W_dec'."""
        self.atoms.copy_(F.normalize(torch.randn_like(self.atoms), dim=0))
        self.centre.zero_()
        self.encoder.weight.copy_(self.atoms.T)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"].flatten(start_dim=1)  # [B, n_in]
        units = self.encoder(x - self.centre)  # [B, n_units]
        z = units * largest(units, self.k)
        if self.training:
            self.at_work.add_(sum_over_ranks((z.detach() != 0).float().sum(0)))
        error = x - self.combine(z) - self.centre
        distortion = error.square().sum(1).mean()
        dead = (self.idle >= self.dead_after).float()
        z_dead = units * dead * largest(units.masked_fill(dead == 0, -torch.inf), self.k_aux)
        # the error is detached; without dead units this is a constant without a gradient
        revival = (error.detach() - self.combine(z_dead)).square().sum(1).mean()
        loss = distortion + self.aux_weight() * revival
        l0 = (z != 0).float().sum(1).mean()
        return {"loss": loss, "distortion": distortion, "revival": revival, "l0": l0, "dead": dead.mean()}

    def combine(self, z: Tensor) -> Tensor:
        """z [B, n_units] times the atoms, each of norm 1: [B, n_in]."""
        return z @ F.normalize(self.atoms, dim=0).T

    @torch.no_grad()
    def after_update(self, iteration: int) -> None:
        self.idle.copy_(torch.where(self.at_work > 0, 0.0, self.idle + 1))
        self.at_work.zero_()

    def encode(self, x: Tensor) -> Distribution:
        """All mass at the code [B, n_units], with k numbers that are not 0."""
        units = self.encoder(x.flatten(start_dim=1) - self.centre)
        return Delta(units * largest(units, self.k))

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        """x', [B, *shape]. Neither codes nor pictures have noise, so the two switches have no effect."""
        return (self.combine(self.encode(x).mean) + self.centre).view_as(x)


def largest(values: Tensor, k: int) -> Tensor:
    """1 at each row's k largest values [B, n], 0 elsewhere."""
    return torch.zeros_like(values).scatter(-1, values.topk(k, dim=-1).indices, 1.0)
