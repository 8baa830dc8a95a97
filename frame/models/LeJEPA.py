"""Embeddings of views agree and, along random directions, have the distribution of a standard Gaussian.

Balestriero & LeCun 2025, "LeJEPA: provable and scalable self-supervised learning without the heuristics" (2511.08544):
SIGReg (sketched isotropic Gaussian regularization) with the Epps-Pulley statistic, and the loss that it joins.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.common.ranks import all_rows, from_rank_0
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import JointEmbeddingModel, product


class LeJEPA(JointEmbeddingModel):
    """loss = (1 - weight) * prediction + weight * sigreg, for two or more views of each row.

    'prediction' is the mean squared distance between a view's embedding and the mean of all views of its row, and a
    mean over dimensions, as in the paper's code; its text has their sum. 'sigreg' is the mean over views of `sigreg`,
    for the rows of all ranks. All ranks use the same directions, which are drawn anew for each batch.

    Args:
        encoder: f; its head is removed.
        projector: g.
        weight: lambda, in [0, 1]; 0.05 in the paper.
        n_slices: M, the random directions.

    Raises:
        UserError: a number is out of range, or as `JointEmbeddingModel`; from the loss, there are fewer than two views.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | partial[Any],
        weight: float | Coefficient,
        n_slices: int,
    ) -> None:
        super().__init__(encoder, projector)
        at_least(1, n_slices=n_slices)
        self.weight = coefficient("weight", weight)
        if self.weight.bounds[1] > 1:
            raise UserError(f"weight={self.weight.bounds[1]:g}: it must lie in [0, 1], such as 0.05")
        self.n_slices = n_slices

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        views = batch["views"]
        if len(views) < 2:
            raise UserError(f"LeJEPA takes two or more views, and each batch has {len(views)}: set data.n_views=2")
        z = self.embed(torch.cat([*views])).unflatten(0, (len(views), -1))  # [V, B, z_dim]
        # 1/V sum_v |z_v - mu|^2, mu = 1/V sum_v z_v
        prediction = (z - z.mean(0)).square().mean()
        directions = from_rank_0(F.normalize(torch.randn(self.n_slices, z.shape[-1], device=z.device), dim=1))
        regularity = torch.stack([sigreg(of_view, directions) for of_view in z]).mean()
        weight = self.weight()
        # L = (1 - lambda) prediction + lambda / V sum_v SIGReg(z_v)
        loss = (1 - weight) * prediction + weight * regularity
        return {"loss": loss, "prediction": prediction, "sigreg": regularity}


def sigreg(z: Tensor, directions: Tensor) -> Tensor:
    """The mean over directions a [M, D], of length 1, of the Epps-Pulley statistic of z a, z [B, D]; shape ().

    Its mean is sqrt(2 pi) (1 - 1 / sqrt(3)) = 1.06 for any number of rows of a standard Gaussian. For rows of another
    distribution it grows with their number.
    """
    return epps_pulley(product(z, directions.T)).mean()


def epps_pulley(x: Tensor, t_max: float = 5.0, n_points: int = 17) -> Tensor:
    """How far each column of x [B, M] is from a standard Gaussian: [M]. The B rows are those of each of W ranks.

    T = N integral |phi_x(t) - phi(t)|^2 w(t) dt from -t_max to t_max, with N = W B, phi_x(t) = 1/N sum_n e^{i t x_n},
    and phi(t) = w(t) = e^{-t^2 / 2}; by the trapezoidal rule at `n_points`, an odd number. Both halves are equal.
    """
    t = torch.linspace(0, t_max, n_points // 2 + 1, device=x.device)  # [T]
    phi = (-t.square() / 2).exp()
    w = 2 * phi * t_max / (n_points // 2)
    w = w * torch.where((t == 0) | (t == t_max), 0.5, 1.0)
    # Re and Im of phi_x: means over the rows of this rank, then over ranks
    angles = x.unsqueeze(-1) * t  # [B, M, T]
    means = torch.stack([angles.cos().mean(0), angles.sin().mean(0)])  # [2, M, T]
    each = all_rows(means.unsqueeze(0))  # [W, 2, M, T]
    real, imaginary = each.mean(0).unbind(0)
    return len(each) * len(x) * (((real - phi).square() + imaginary.square()) * w).sum(-1)
