"""Finite scalar quantisation: the codebook is a fixed grid.

Mentzer et al. 2023, "Finite scalar quantization: VQ-VAE made simple" (2309.15505), section 3.1, appendix A.1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.base import Batch
from frame.measures.codes import perplexity, usage
from frame.models.base import ConditionalDistribution, QuantisedModel, straight_through


class FSQ(QuantisedModel):
    """loss = -log p(x|z_q), with z_q = round(f(z_e)) and f the bounding function (L - 1) / 2 * tanh.

    Nats per sample, a mean over the batch. Each number of a vector of z_e is rounded to one of the L levels of its
    dimension; f(z_e) gets the gradient of z_q (straight through). The levels are the whole numbers from -floor(L / 2)
    on, divided by floor(L / 2); one of them is 0. A code is a combination of levels, so the number of codes is the
    product of `levels`.

    Deviation: the width is (L - 1)(1 + 0.001) / 2, as in the authors' code. Without the 0.001 the tanh would reach the
    outermost levels of odd L only at infinity. In the paper's appendix the small number shrinks the width instead.

    Args:
        encoder: q(z|x), whose mean is z_e(x): [B, D] or [B, D, *where].
        decoder: p(x|z), z of the same shape, in [-1, 1].
        levels: L of each of the D dimensions; the paper advises 5 or more each.

    Raises:
        UserError: a number of levels below 2, or the networks' z_dim is not the number of `levels`.
    """

    def __init__(
        self, encoder: ConditionalDistribution, decoder: ConditionalDistribution, levels: Sequence[int]
    ) -> None:
        if not levels or any(not isinstance(level, int) or level < 2 for level in levels):
            raise UserError(
                f"levels={list(levels)}: give each dimension a whole number of at least 2, such as [8, 5, 5]"
            )
        super().__init__(encoder, decoder, z_dim=len(levels))
        self.n_codes = math.prod(levels)
        L = torch.tensor(levels)
        self.levels = nn.Buffer(L, persistent=False)
        # the first dimension counts fastest
        self.places = nn.Buffer(torch.cat([torch.ones(1, dtype=torch.int64), L.cumprod(0)[:-1]]), persistent=False)

    def bounded(self, z: Tensor) -> Tensor:
        """f(z), [..., D]: it reaches a little beyond (L - 1) / 2 on both sides, and so all levels."""
        half_width = (self.levels - 1) * (1 + 1e-3) / 2
        offset = 0.5 * (self.levels % 2 == 0)
        # an even L lowers f by 1/2; the shift keeps f(0) near 0
        return torch.tanh(z + torch.tan(offset / half_width)) * half_width - offset

    def quantised(self, z_e: Tensor) -> tuple[Tensor, Tensor]:
        """z_q [B, D, *where], with the gradient of f(z_e), and the indices of its codes [B, *where]."""
        f = self.bounded(z_e.movedim(1, -1))  # [B, *where, D]
        level = f.detach().round()
        half = self.levels // 2
        indices = ((level.long() + half) * self.places).sum(-1)
        return (straight_through(f, level) / half).movedim(-1, 1), indices

    def codes(self, indices: Tensor) -> Tensor:
        """The points of the grid with these indices, [*indices.shape, D]."""
        half = self.levels // 2
        return ((indices.unsqueeze(-1) // self.places) % self.levels - half) / half

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z_q, indices = self.quantised(self.encoder(batch["x"]).mean)
        p_x_given_z = self.decoder(z_q)
        distortion = -p_x_given_z.log_prob(batch["x"]).mean()
        return {"loss": distortion, "perplexity": perplexity(usage(indices, self.n_codes))}
