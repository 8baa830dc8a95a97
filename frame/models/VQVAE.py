"""Vector-quantised variational autoencoder.

van den Oord et al. 2017, "Neural discrete representation learning" (1711.00937), eq. 1 to 3; the codebook as a moving
average: appendix A.1. Revival of dead codes: Dhariwal et al. 2020, "Jukebox" (2005.00341), section 3.1.
"""

import math

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.common.ranks import from_rank_0, sum_over_ranks
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.measures.codes import perplexity, usage
from frame.models.base import ConditionalDistribution, QuantisedModel, straight_through


class VQVAE(QuantisedModel):
    """loss = -log p(x|z_q) + commitment * ||z_e - sg[e]||^2, where z_q = e, the code nearest to z_e.

    Nats per sample: sums over pixels and over all of z_e, a mean over the batch. z_e gets the gradient of z_q (straight
    through). A code is the moving average of the n vectors, with sum s, that it is nearest to in each update:
    N = decay * N + (1 - decay) * n, m = decay * m + (1 - decay) * s, e = m / N, at first with N = 1 and m = e, uniform
    with variance 1 / D in each dimension. A code with n = 0 does not move. The vectors of all ranks and of all
    batches since the last update are used.

    A published loss in means, mse(x) / var + beta * mse(z_e), is this loss divided by n_x, up to a constant, if p(x|z)
    is a Normal of scale sqrt(var / 2) and commitment = beta * n_x / n_z, for n_x values in x and n_z in z_e.

    Args:
        encoder: q(z|x), whose mean is z_e(x): [B, D] or [B, D, *where].
        decoder: p(x|z), z of the same shape.
        n_codes: K.
        z_dim: D.
        commitment: weight of ||z_e - sg[e]||^2, at least 0.
        decay: of the averages; None learns e by the gradient of ||sg[z_e] - e||^2, which joins the loss (eq. 3).
        revive_below: a code with a smaller N moves to a random z_e of rank 0's last batch, N = 1; 0 moves none.

    Raises:
        UserError: a number is out of range, or the networks have another z_dim.
    """

    def __init__(
        self,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        n_codes: int,
        z_dim: int,
        commitment: float | Coefficient,
        decay: float | None = 0.99,
        revive_below: float = 0.0,
    ) -> None:
        super().__init__(encoder, decoder, z_dim)
        at_least(2, n_codes=n_codes)
        if decay is not None and not 0 <= decay < 1:
            raise UserError(f"decay={decay}: it must lie in [0, 1), such as 0.99; null learns the codebook by gradient")
        if not 0 <= revive_below < 1 or (revive_below > 0 and decay is None):
            raise UserError(f"revive_below={revive_below}: it must lie in [0, 1), and be 0 if decay is null")
        self.n_codes, self.decay, self.revive_below = n_codes, decay, revive_below
        self.commitment = coefficient("commitment", commitment)
        e = (2 * torch.rand(n_codes, z_dim) - 1) * math.sqrt(3 / z_dim)
        self.codebook: Tensor = nn.Parameter(e) if decay is None else nn.Buffer(e)
        self.N, self.m = nn.Buffer(torch.ones(n_codes)), nn.Buffer(e.clone())
        self.counts, self.sums = nn.Buffer(torch.zeros(n_codes)), nn.Buffer(torch.zeros_like(e))  # n, s so far
        self.candidates = nn.Buffer(e.clone())  # where dead codes move to

    def quantised(self, z_e: Tensor) -> tuple[Tensor, Tensor]:
        """z_q [B, D, *where], with the gradient of the identity, and the indices of its codes [B, *where]."""
        z = z_e.movedim(1, -1)  # [B, *where, D]
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            # argmin ||z - e||^2, without ||z||^2: [B, *where, K]
            indices = (self.codebook.square().sum(1) - 2 * z.float() @ self.codebook.T).argmin(-1)
        return straight_through(z_e, self.codes(indices).movedim(-1, 1)), indices

    def codes(self, indices: Tensor) -> Tensor:
        """The codes with these indices, [*indices.shape, D]."""
        return self.codebook[indices]

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z_e = self.encoder(batch["x"]).mean  # [B, D, *where]
        z_q, indices = self.quantised(z_e)
        if self.training and self.decay is not None:
            self.collect(z_e.movedim(1, -1).reshape(-1, self.z_dim), indices.flatten())
        p_x_given_z = self.decoder(z_q)
        distortion = -p_x_given_z.log_prob(batch["x"]).mean()
        e = self.codes(indices).movedim(-1, 1)
        distance = (z_e - e.detach()).square().flatten(start_dim=1).sum(1).mean()  # ||z_e - sg[e]||^2
        loss = distortion + self.commitment() * distance
        if self.decay is None:  # + ||sg[z_e] - e||^2
            loss = loss + (z_e.detach() - e).square().flatten(start_dim=1).sum(1).mean()
        used = perplexity(usage(indices, self.n_codes))
        return {"loss": loss, "distortion": distortion, "distance": distance, "perplexity": used}

    @torch.no_grad()
    def collect(self, z: Tensor, indices: Tensor) -> None:
        """Adds vectors z [n, D] and their codes [n], of all ranks, to the sums for the next update."""
        with torch.autocast(z.device.type, enabled=False):
            one_hot = (indices.unsqueeze(1) == torch.arange(self.n_codes, device=z.device)).float()  # [n, K]
            # nothing else makes them equal: in manual optimization DDP broadcasts buffers before the first batch only
            self.counts.add_(sum_over_ranks(one_hot.sum(0)))
            self.sums.add_(sum_over_ranks(one_hot.T @ z.float()))
        if self.revive_below > 0:
            self.candidates.copy_(z[torch.randint(len(z), (self.n_codes,), device=z.device)])

    @torch.no_grad()
    def after_update(self, iteration: int) -> None:
        if self.decay is None:
            return
        self.N.mul_(self.decay).add_(self.counts, alpha=1 - self.decay)
        self.m.mul_(self.decay).add_(self.sums, alpha=1 - self.decay)
        moved = self.counts.unsqueeze(1) > 0  # the N of the other codes may have shrunk to 0
        self.codebook.copy_(torch.where(moved, self.m / self.N.unsqueeze(1), self.codebook))
        self.counts.zero_()
        self.sums.zero_()
        if self.revive_below > 0:
            dead, places = self.N < self.revive_below, from_rank_0(self.candidates)
            self.N.masked_fill_(dead, 1.0)
            for vectors in (self.codebook, self.m):
                vectors.copy_(torch.where(dead.unsqueeze(1), places, vectors))
