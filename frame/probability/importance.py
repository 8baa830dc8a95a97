"""Importance-weighted bounds on log p(x)."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def iwae_bound(log_weights: Tensor) -> Tensor:
    """log 1/S sum_s w_s, [B], for log-weights [S, B].

    With w = p(x, z) / q(z|x) and z ~ q(z|x) it is at most log p(x) in expectation and approaches it with S
    (Burda et al. 2015, 1509.00519, eq. 8 and theorem 1); one sample gives the ELBO.
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def streamed_iwae_bound(chunks: Iterable[Tensor]) -> Tensor:
    """`iwae_bound` of all chunks [S_i, B] together, with only one chunk in memory at a time.

    Raises:
        ValueError: there is no chunk.
    """
    total, n_samples = None, 0
    for log_weights in chunks:
        part = log_weights.double().logsumexp(0)
        total = part if total is None else torch.logaddexp(total, part)
        n_samples += len(log_weights)
    if total is None:
        raise ValueError("no chunk of log-weights: there must be at least one sample")
    return total - math.log(n_samples)
