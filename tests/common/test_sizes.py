"""Sizes that may be shapes."""

from typing import Any

import pytest

from frame.common.errors import UserError
from frame.common.sizes import n_values


@pytest.mark.parametrize("size, n", [(7, 7), ([1, 28, 28], 784), ((12,), 12), ([3, 2, 5, 4], 120)])
def test_a_number_or_a_shape(size: Any, n: int) -> None:
    assert n_values(n_in=size) == n


@pytest.mark.parametrize("size", [0, -3, [1, 0, 4], 2.5, [2, 2.5], "ab"])
def test_what_is_no_size_is_one_line(size: Any) -> None:
    with pytest.raises(UserError, match="^n_in=") as error:
        n_values(n_in=size)
    assert "\n" not in str(error.value)
