"""Bits per dimension, and which latents are active."""

import math

from torch import Tensor

from frame.common.errors import at_least


def bits_per_dimension(log_p: Tensor, n_dims: int) -> Tensor:
    """-log p / (D ln 2) for log-probabilities in nats of rows with D values: the bits that a code needs for each value.

    It is meaningful if p is a probability of discrete values. A density may be above 1, and its bits below 0.

    Raises:
        UserError: n_dims < 1.
    """
    at_least(1, n_dims=n_dims)
    return -log_p / (n_dims * math.log(2))


def active_units(means: Tensor, threshold: float = 0.01) -> Tensor:
    """Which latents are active, bool [z_dim]: Var_x(E_q(z|x)[z]) > threshold for means [N, z_dim] (1509.00519, sec. 5).

    The variance divides by N.
    """
    return means.double().var(0, correction=0) > threshold
