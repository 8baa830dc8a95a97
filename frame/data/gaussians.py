"""Pairs of correlated Gaussian vectors, whose mutual information is known."""

import torch
from torch import Tensor

from frame.common.errors import UserError, at_least
from frame.data.base import Batch, DataSet, Source
from frame.probability.mutual_information import gaussian_correlation, gaussian_information


class Gaussians(DataSet):
    """'views' are two vectors of `dim` standard normal numbers, correlated element by element; 'x' is the first.

    I = -(dim / 2) log(1 - rho^2) nats. No invertible map of either vector changes it, so `cubic` does not. Belghazi
    et al. 2018 (1801.04062), Poole et al. 2019 (1905.06922) and Song & Ermon 2020 (1910.06222) use these pairs.

    In 'train' pairs are drawn anew at each use, so that a model cannot memorize them; those of 'valid' and
    'test' are drawn once.

    Args:
        information: nats, or null if `rho` is given.
        rho: correlation, or null.
        dim: dimensions of each vector.
        cubic: whether the second vector is cubed, element by element.
        n_rows: rows of 'train'; the length of an epoch.
        n_held_out: rows of 'valid', and of 'test'.

    Raises:
        UserError: both or neither of information and rho are given, or a number is out of range.
    """

    keys = ("x", "views")
    row = "row"

    def __init__(
        self,
        information: float | None = None,
        rho: float | None = None,
        dim: int = 20,
        cubic: bool = False,
        n_rows: int = 64000,
        n_held_out: int = 10000,
    ) -> None:
        super().__init__()
        at_least(1, dim=dim, n_rows=n_rows, n_held_out=n_held_out)
        if (information is None) == (rho is None):
            raise UserError("Gaussians: give one of information (nats) and rho, and leave the other null")
        if information is not None:
            at_least(0, information=information)
            rho = gaussian_correlation(information, dim)
        assert rho is not None
        if not -1 < rho < 1:
            raise UserError(f"rho={rho}: a correlation with finite information lies between -1 and 1")
        self.rho, self.dim, self.cubic = float(rho), dim, cubic
        self.n_rows, self.n_held_out = n_rows, n_held_out

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def information(self) -> float:
        """I of the two views, in nats."""
        return gaussian_information(self.rho, self.dim)

    def load(self, split: str) -> Source:
        if split == "train":
            return FreshPairs(self, self.n_rows)
        generator = torch.Generator().manual_seed(self.splits.index(split))
        return Pairs(self.draw(self.n_held_out, generator))

    def draw(self, n_rows: int, generator: torch.Generator) -> Tensor:
        """[n_rows, 2, dim], on the generator's device."""
        x, noise = torch.randn(2, n_rows, self.dim, generator=generator, device=generator.device)
        y = self.rho * x + (1 - self.rho**2) ** 0.5 * noise
        return torch.stack([x, y**3 if self.cubic else y], dim=1)


class Pairs:
    """Pairs [N, 2, dim] in memory."""

    def __init__(self, pairs: Tensor) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, indices: Tensor) -> Batch:
        return {"x": self.pairs.index_select(0, indices), "index": indices}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        x, y = batch["x"].unbind(1)
        return {**batch, "x": x, "views": [x, y]}


class FreshPairs:
    """Draws pairs on demand; a stored row is only its index."""

    def __init__(self, data: Gaussians, n_rows: int) -> None:
        self.data, self.n_rows = data, n_rows

    def __len__(self) -> int:
        return self.n_rows

    def batch(self, indices: Tensor) -> Batch:
        return {"index": indices}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        x, y = self.data.draw(len(batch["index"]), generator).unbind(1)
        return {**batch, "x": x, "views": [x, y]}
