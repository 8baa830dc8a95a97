"""Principal components: the linear floor under every code."""

import torch
from torch import Tensor

from frame.common.errors import at_least


class PCA:
    """The `n_components` directions of the largest variance of `x` [N, D]; as many as there are where D is smaller.

    Raises:
        UserError: n_components < 1.
    """

    def __init__(self, x: Tensor, n_components: int) -> None:
        at_least(1, n_components=n_components)
        self.mean = x.mean(0)  # [D]
        centred = (x - self.mean).float()
        covariance = centred.T @ centred / len(x)
        self.directions = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :n_components]  # [D, n_components]

    def __call__(self, x: Tensor) -> Tensor:
        """The centred rows' coordinates, [N, n_components], the largest variance first."""
        return (x - self.mean) @ self.directions
