"""Networks and views for tests of joint-embedding methods."""

from typing import Any

import torch
from torch import Tensor, nn

from frame.architectures.base import MLPEncoder
from frame.architectures.projectors import Projector


class Flat(nn.Module):
    """An encoder without parameters: its features are x."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.n_out = n_out

    def features(self, x: Tensor) -> Tensor:
        return x


class Same(nn.Identity):
    """A projector without parameters: its embeddings are the features."""

    def __init__(self, z_dim: int) -> None:
        super().__init__()
        self.z_dim = z_dim


def views(n: int, n_dims: int, n_views: int = 2, seed: int = 0) -> list[Tensor]:
    """Rows in correlated views, each [n, n_dims]."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, n_dims, generator=generator)
    return [x + 0.5 * torch.randn(n, n_dims, generator=generator) for _ in range(n_views)]


def networks(seed: int = 0, **options: Any) -> tuple[MLPEncoder, Projector]:
    """A small encoder of rows of 5 numbers and a projector of its 6 features."""
    torch.manual_seed(seed)
    return MLPEncoder((5,), 2, [6]), Projector(6, 4, **{"layers": [7], **options})
