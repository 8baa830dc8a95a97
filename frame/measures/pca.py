"""Principal components, a linear baseline for codes."""

import torch
from torch import Tensor

from frame.common.errors import at_least


class PCA:
    """The `n_components` directions of the largest variance of `x` [N, D]; D if that is smaller.

    With `whiten`, each coordinate is divided by its standard deviation on `x`; directions without variance become 0.

    Raises:
        UserError: n_components < 1.
    """

    def __init__(self, x: Tensor, n_components: int, whiten: bool = False) -> None:
        at_least(1, n_components=n_components)
        self.mean = x.mean(0)  # [D]
        centred = (x - self.mean).float()
        covariance = centred.T @ centred / len(x)
        values, vectors = torch.linalg.eigh(covariance)
        self.directions = vectors.flip(1)[:, :n_components]  # [D, n_components]
        if whiten:
            variances = values.flip(0)[:n_components]
            scales = variances.clamp_min(0).rsqrt().where(variances > 1e-6 * variances[0], 0.0)
            self.directions = self.directions * scales

    def __call__(self, x: Tensor) -> Tensor:
        """The coordinates of the centred rows, [N, n_components], largest variance first."""
        return (x - self.mean) @ self.directions
