"""How a codebook is used."""

import torch
from torch import Tensor


def usage(indices: Tensor, n_codes: int) -> Tensor:
    """How often each code occurs among `indices` (int64, any shape): [n_codes], float32."""
    flat = indices.flatten()
    # out of place and without bincount, so that it can be vectorised
    return torch.zeros(n_codes, device=flat.device).scatter_add(0, flat, torch.ones_like(flat, dtype=torch.float32))


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of the frequencies given by `counts` [n_codes]: from 1 to n_codes, shape ()."""
    p = counts / counts.sum()
    return torch.special.entr(p).sum().exp()
