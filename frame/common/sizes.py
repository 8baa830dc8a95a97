"""Sizes in a config, which may be a number or the shape of a row: YAML cannot multiply."""

import math
from collections.abc import Sequence

from frame.common.errors import UserError, at_least

Size = int | Sequence[int]


def n_values(**sizes: Size) -> int:
    """The number of values of a row, from one named size: a number n or a shape, such as [1, 28, 28].

    Raises:
        UserError: the number, or a side of the shape, is not a whole number of at least 1.
    """
    ((name, size),) = sizes.items()
    sides = [size] if isinstance(size, int | float) else [*size]
    if any(not isinstance(side, int) for side in sides):
        raise UserError(f"{name}={size}: give a whole number, or a shape such as [1, 28, 28]")
    n = math.prod(sides)
    at_least(1, **{name: min(sides, default=1)})
    return n
