"""Networks of counts [B, G], such as reads of genes in cells, as in scVI.

Lopez et al. 2018, "Deep generative modeling for single-cell transcriptomics" (Nature Methods 15), equations of its
supplement without zero inflation and batches; the library size is the observed one, as by default in scvi-tools.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from frame.architectures import base
from frame.architectures.heads import DeltaHead, DiagonalNormalHead
from frame.architectures.layers import mlp
from frame.common.errors import UserError, at_least
from frame.models.base import ConditionalDistribution
from frame.probability.distributions import CountsOfLibrary


class CountsBackbone(base.MLPBackbone):
    """Counts [B, *shape] -> the last hidden layer of an MLP of log(1 + x), [B, n_out]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float().log1p())


class CountsEncoder(base.Encoder):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): counts [B, G], which enter as log(1 + x) -> event_shape (z_dim,).

    Args:
        shape: of one row, [G].
        z_dim: number of latents.
        layers: widths of the hidden layers, from x to z.
        scale_shift: sigma = softplus(rho + scale_shift).
        deterministic: the head is a `DeltaHead`, with all mass at mu(x).

    Raises:
        UserError: z_dim or a width is not positive.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int],
        scale_shift: float = 0.0,
        deterministic: bool = False,
    ) -> None:
        backbone = CountsBackbone(shape, layers)
        n = backbone.n_out
        super().__init__(backbone, DeltaHead(n, z_dim) if deterministic else DiagonalNormalHead(n, z_dim, scale_shift))


class CountsDecoder(ConditionalDistribution):
    """p(x|z, l): z [B, z_dim] -> negative binomials of event_shape (G,), for cells of library size l = sum_g x_g.

    The mean of gene g is l rho_g(z), with rho = softmax(f(z)), and its variance mean + mean^2 / theta_g, with one
    inverse dispersion theta_g > 0 for each gene.

    Args:
        shape: of one row, [G].
        z_dim: number of latents.
        layers: widths of the hidden layers, from z to x.
        library: l of means and samples without a cell, such as 10,000: counts per ten thousand.

    Raises:
        UserError: `shape` is not [G], or a number is not positive.
    """

    def __init__(self, shape: Sequence[int], z_dim: int, layers: Sequence[int], library: float = 1e4) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        if len(shape) != 1:
            raise UserError(f"shape={list(shape)}: counts are rows [genes]: choose an MLP for rows of another shape")
        if not library > 0:
            raise UserError(f"library={library}: it must be positive")
        self.z_dim, self.library = z_dim, library
        self.hidden = mlp(z_dim, layers)
        self.linear = nn.Linear([z_dim, *layers][-1], shape[0])
        self.log_theta = nn.Parameter(torch.empty(shape[0]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.log_theta)

    def forward(self, z: Tensor) -> CountsOfLibrary:
        log_rho = self.linear(self.hidden(z)).float().log_softmax(-1)
        return CountsOfLibrary(log_rho, self.log_theta.float().exp(), self.library)
