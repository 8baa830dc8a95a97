"""Means, standard errors and intervals against numbers by hand."""

import math

import pytest
import torch

from frame.common.errors import TooFew, UserError
from frame.measures.statistics import accuracy, mean_and_standard_error, t_interval


def test_mean_and_standard_error() -> None:
    """1, 2, 3, 6: mean 3; squares of deviations 4 + 1 + 0 + 9 = 14, s^2 = 14/3, error sqrt(14/3/4)."""
    mean, error = mean_and_standard_error(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert mean == 3 and error == pytest.approx(math.sqrt(14 / 12))


def test_one_value_has_no_standard_error() -> None:
    mean, error = mean_and_standard_error(torch.tensor([2.0]))
    assert mean == 2 and math.isnan(error)


def test_large_offsets_keep_the_precision() -> None:
    mean, error = mean_and_standard_error(torch.tensor([1e6 + 1, 1e6 + 3]))
    assert mean == 1e6 + 2 and error == pytest.approx(1)


def test_accuracy() -> None:
    """3 of 4 right; binomial error sqrt(0.75 * 0.25 / 4)."""
    log_p = torch.eye(3)[[0, 1, 2, 0]].log()
    right, error = accuracy(log_p, torch.tensor([0, 1, 2, 2]))
    assert right == 0.75 and error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


def test_t_intervals_contain_the_mean_as_often_as_their_level() -> None:
    draws = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)) + 3
    held = [low < 3 < high for low, high in (t_interval(row, 0.9) for row in draws)]
    assert sum(held) / len(held) == pytest.approx(0.9, abs=0.02)
    low, high = t_interval(torch.tensor([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)
    with pytest.raises(TooFew, match="1 values have no interval"):
        t_interval(torch.ones(1))
    with pytest.raises(UserError, match="level=95"):
        t_interval(torch.ones(3), 95)
