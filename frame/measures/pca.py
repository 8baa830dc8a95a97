"""Principal components, a linear baseline for codes."""

import torch
import torch.nn.functional as F
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
        values, vectors = _few_rows(centred) if len(x) < x.shape[1] else torch.linalg.eigh(centred.T @ centred / len(x))
        self.directions = vectors.flip(1)[:, :n_components]  # [D, n_components]
        if whiten:
            variances = values.flip(0)[:n_components]
            scales = variances.clamp_min(0).rsqrt().where(variances > 1e-6 * variances[0], 0.0)
            self.directions = self.directions * scales

    def __call__(self, x: Tensor) -> Tensor:
        """The coordinates of the centred rows, [N, n_components], largest variance first."""
        return (x - self.mean) @ self.directions


def _few_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of x^T x / N for x [N, D], N < D, in ascending order: [D] and [D, D].

    They are found by the N x N products, x x^T, in far less time. Those without variance are 0.
    """
    values, inner = torch.linalg.eigh(x @ x.T / len(x))
    vectors = x.T @ inner  # x^T u, of length sqrt(N value)
    lengths = vectors.norm(dim=0)
    vectors = vectors * lengths.reciprocal().where(values > 1e-6 * values[-1], 0.0)
    missing = x.shape[1] - len(x)
    return F.pad(values, (missing, 0)), F.pad(vectors, (missing, 0))
