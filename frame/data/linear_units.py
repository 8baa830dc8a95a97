"""Six linear problems in which some inputs cause 'y' and others only go along with it in training.

Aubin et al. 2021, "Linear unit-tests for invariance discovery" (2102.10867), section 2.
"""

import math

import torch
from torch import Tensor

from frame.common.errors import UserError, at_least, choices
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory

EXAMPLES = ("1", "2", "3", "1s", "2s", "3s")


class LinearUnits(DataSet):
    """Rows [dim_inv + dim_spu]: the first inputs are invariant, the others spurious; 'env' counts environments from 0.

        1   numbers y: x_inv -> y -> x_spu; the noise of x_inv and y differs between environments
        2   cows and camels: a weak foreground decides y, and a strong background agrees with it
        3   a small invariant margin beside a large spurious one, whose direction differs between environments
        1s, 2s, 3s   the same, all inputs rotated by one random matrix

    In 'test' the spurious inputs are shuffled over the rows of each environment, so that they say nothing about y.
    'train' and 'valid' are drawn alike. Constants are those of the authors' code; environments beyond the third of 1
    and 2 are drawn at random. In 1, 'y' holds numbers, and there are no classes.

    Args:
        example: one of the names above.
        dim_inv, dim_spu: inputs of each kind.
        n_envs: environments, at least 2.
        n_rows: rows of each environment, in each split.
        oracle: whether the spurious inputs of 'train' and 'valid' are shuffled, too: the best that a method can get.
        draw: seed of the problem's constants and of its rows.

    Raises:
        UserError: an unknown example, or a number is out of range.
    """

    keys = ("x", "y", "env")
    row = "row"

    def __init__(
        self,
        example: str | int,
        dim_inv: int = 5,
        dim_spu: int = 5,
        n_envs: int = 3,
        n_rows: int = 10_000,
        oracle: bool = False,
        draw: int = 0,
    ) -> None:
        super().__init__()
        self.example = str(example)  # 1 in YAML is a number
        if self.example not in EXAMPLES:
            raise UserError(choices(self.example, EXAMPLES, kind="example"))
        at_least(1, dim_inv=dim_inv, dim_spu=dim_spu)
        at_least(2, n_envs=n_envs, n_rows=n_rows)
        at_least(0, draw=draw)
        self.dim_inv, self.dim_spu, self.n_rows, self.oracle, self.draw = dim_inv, dim_spu, n_rows, oracle, draw
        self._n_envs = n_envs
        generator = torch.Generator().manual_seed(4 * draw)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        def uniform(low: float, high: float) -> list[float]:
            """For environments beyond the third."""
            return (low + (high - low) * torch.rand(max(n_envs - 3, 0), generator=generator)).tolist()

        # 1: standard deviations, and the two matrices
        self.scales = [0.1, 1.5, 2.0, *(10**power for power in uniform(-2, 1))][:n_envs]
        self.cause, self.effect = normal(dim_inv, dim_inv) / dim_inv, normal(dim_inv, dim_spu) / dim_spu
        # 2: how often the background agrees, and how many rows are on grass or sand
        self.agreement = [0.95, 0.97, 0.99, *uniform(0.9, 1.0)][:n_envs]
        self.grass = [0.3, 0.5, 0.7, *uniform(0.3, 0.7)][:n_envs]
        # 3: the direction of the spurious margin
        self.direction = normal(n_envs, dim_spu)
        self.rotation = torch.linalg.qr(normal(dim_inv + dim_spu, dim_inv + dim_spu)).Q

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim_inv + self.dim_spu,)

    @property
    def n_classes(self) -> int | None:
        return None if self.example.startswith("1") else 2

    @property
    def n_envs(self) -> int:
        return self._n_envs

    def load(self, split: str) -> Source:
        generator = torch.Generator().manual_seed(4 * self.draw + 1 + self.splits.index(split))
        draw = {"1": self._causes, "2": self._cows, "3": self._margins}[self.example[0]]
        parts = []
        for env in range(self.n_envs):
            invariant, spurious, y = draw(env, generator)
            if self.oracle or split == "test":
                spurious = spurious[torch.randperm(self.n_rows, generator=generator)]
            order = torch.randperm(self.n_rows, generator=generator)
            parts.append((torch.cat([invariant, spurious], 1)[order], y[order]))
        # environments in turn
        x, y = (torch.stack(part, 1).flatten(0, 1) for part in zip(*parts, strict=True))
        if self.example.endswith("s"):
            x = x @ self.rotation
        envs = torch.arange(len(x)) % self.n_envs
        if self.n_classes is not None:
            return InMemory(x, y.long(), env=envs)
        found = InMemory(x, env=envs)
        found.columns["y"] = y
        return found

    def _causes(self, env: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        def noise(n: int) -> Tensor:
            return torch.randn(self.n_rows, n, generator=generator)

        invariant = self.scales[env] * noise(self.dim_inv)
        outcome = invariant @ self.cause + self.scales[env] * noise(self.dim_inv)
        return invariant, outcome @ self.effect + noise(self.dim_spu), outcome.sum(1)

    def _cows(self, env: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        def uniform() -> Tensor:
            return torch.rand(self.n_rows, 1, generator=generator)

        # cows on grass, cows on sand, camels on sand, camels on grass: s p, s (1 - p), (1 - s) p, (1 - s) (1 - p)
        cow = torch.where(uniform() < self.grass[env], 1.0, -1.0)
        ground = torch.where(uniform() < self.agreement[env], cow, -cow)
        invariant, spurious = (
            sign + torch.randn(self.n_rows, n, generator=generator) / math.sqrt(10)
            for sign, n in ((cow, self.dim_inv), (ground, self.dim_spu))
        )
        return 0.01 * invariant, spurious, invariant.sum(1) > 0

    def _margins(self, env: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.arange(self.n_rows) % 2
        sign = (1.0 - 2.0 * y).unsqueeze(1)
        invariant, spurious = (
            sign * centre + 0.1 * torch.randn(self.n_rows, n, generator=generator)
            for centre, n in ((0.1, self.dim_inv), (self.direction[env], self.dim_spu))
        )
        return invariant, spurious, y
