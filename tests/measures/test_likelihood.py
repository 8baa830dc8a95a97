"""Bounds from log-weights against the definition and streamed against at once; active units against numpy."""

import math

import numpy as np
import pytest
import torch

from frame.measures.likelihood import active_units
from frame.probability.importance import iwae_bound, streamed_iwae_bound


def test_iwae_bound_is_the_log_of_the_mean_weight() -> None:
    """log((1 + 3) / 2) = log 2 and log((2 + 6) / 2) = log 4."""
    log_w = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).log()
    torch.testing.assert_close(iwae_bound(log_w), torch.tensor([math.log(2), math.log(4)]))


def test_streamed_equals_at_once_whatever_the_chunks() -> None:
    log_w = 20 * torch.randn(37, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for sizes in ([37], [1] * 37, [10, 20, 7]):
        torch.testing.assert_close(streamed_iwae_bound(log_w.split(sizes)), iwae_bound(log_w), rtol=1e-12, atol=1e-12)


def test_weights_that_underflow_keep_their_precision() -> None:
    """exp(-1000) is 0 in any precision; the mean of equal weights is that weight, in chunks of any length."""
    chunks = [torch.full((2, 1), -1000.0), torch.full((3, 1), -1000.0 + math.log(2))]
    expected = torch.tensor([-1000 + math.log((2 * 1 + 3 * 2) / 5)], dtype=torch.float64)
    torch.testing.assert_close(streamed_iwae_bound(chunks), expected, rtol=1e-7, atol=0)


def test_no_chunk_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        streamed_iwae_bound([])


def test_active_units_are_those_of_numpy() -> None:
    """Standard deviations around the threshold's 0.1; a mean far from 0 does not make a unit active."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(500, 5)) * [0.0, 0.09, 0.11, 1.0, 0.05] + [3.0, 0.0, 0.0, 0.0, 1e4]
    active = active_units(torch.from_numpy(means))
    assert active.tolist() == (np.var(means, axis=0) > 0.01).tolist() == [False, False, True, True, False]
    assert active_units(torch.from_numpy(means), threshold=0.5).sum() == 1
