"""Learning-rate schedules with warm-up, in optimizer steps; torch's own schedulers work beside them."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from frame.common.errors import UserError


def constant(optimizer: Optimizer, warmup: int = 0) -> LambdaLR:
    """Rises over `warmup` steps, then stays."""
    return LambdaLR(optimizer, _warmed(warmup, lambda step: 1.0))


def linear(optimizer: Optimizer, total: int, warmup: int = 0, end: float = 0.0) -> LambdaLR:
    """Rises over `warmup` steps, then falls in a line to the share `end` at step `total`."""
    return LambdaLR(optimizer, _warmed(warmup, lambda step: end + (1 - end) * (1 - _done(step, warmup, total))))


def cosine(optimizer: Optimizer, total: int, warmup: int = 0, end: float = 0.0) -> LambdaLR:
    """Rises over `warmup` steps, then falls along half a cosine to the share `end` at step `total` (1608.03983)."""
    return LambdaLR(
        optimizer,
        _warmed(warmup, lambda step: end + (1 - end) * (1 + math.cos(math.pi * _done(step, warmup, total))) / 2),
    )


def exponential(optimizer: Optimizer, gamma: float, every: int = 1, warmup: int = 0, hold: int = 0) -> LambdaLR:
    """Rises over `warmup` steps, stays for `hold` more, then is multiplied by `gamma` each `every` steps."""
    start = warmup + hold
    return LambdaLR(optimizer, _warmed(warmup, lambda step: gamma ** (max(0, step - start) // every)))


def stages(optimizer: Optimizer, ends: Sequence[int], factors: Sequence[float]) -> LambdaLR:
    """factors[i] times the rate until step ends[i], and the last factor after the last end.

    Raises:
        UserError: `factors` has not one entry more than `ends`, or `ends` do not rise.
    """
    if len(factors) != len(ends) + 1 or list(ends) != sorted(set(ends)):
        raise UserError(f"stages: {len(factors)} factors, ends={list(ends)}: give rising ends and one factor more")
    ends, factors = list(ends), list(factors)
    return LambdaLR(optimizer, lambda step: factors[bisect_right(ends, step)])


def _warmed(warmup: int, factor: Callable[[int], float]) -> Callable[[int], float]:
    # step counts from 0: the first step of a warm-up of 10 has a tenth of the rate
    return lambda step: (step + 1) / warmup if step < warmup else factor(step)


def _done(step: int, warmup: int, total: int) -> float:
    return min(1.0, (step - warmup) / max(1, total - warmup))
