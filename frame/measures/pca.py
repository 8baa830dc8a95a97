"""Principal components, a linear baseline for codes."""

import torch
from torch import Tensor

from frame.common.errors import at_least


class PCA:
    """The `n_components` directions of the largest variance of `x` [N, D]; D if that is smaller.

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
        """The coordinates of the centred rows, [N, n_components], largest variance first."""
        return (x - self.mean) @ self.directions
