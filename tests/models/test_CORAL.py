"""CORAL: the distance of covariances by a loop over numpy's."""

import numpy as np
import pytest
import torch

from frame.models.CORAL import covariance_distance


def test_the_distance_is_that_of_a_loop() -> None:
    torch.manual_seed(0)
    z, env = torch.randn(20, 3) * torch.tensor([1.0, 2.0, 5.0]) + 7, torch.arange(20) % 3
    covariances = [np.cov(z[env == e].double().numpy().T) for e in range(3)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([((covariances[e] - covariances[f]) ** 2).sum() / (4 * 3**2) for e, f in pairs])
    assert covariance_distance(z, env, 3).item() == pytest.approx(expected, rel=1e-5)


def test_environments_of_fewer_than_two_rows_are_in_no_pair() -> None:
    torch.manual_seed(0)
    z, env = torch.randn(9, 2), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2])
    torch.testing.assert_close(covariance_distance(z, env, 4), covariance_distance(z[:8], env[:8], 2))
    assert covariance_distance(z[:5], env[:5], 4).item() == 0
    assert covariance_distance(z, env * 0, 1).item() == 0


def test_equal_covariances_have_no_distance() -> None:
    torch.manual_seed(0)
    z = torch.randn(6, 2)
    both = torch.cat([z, z + 100])  # means do not count
    assert covariance_distance(both, torch.arange(12) // 6, 2).item() == pytest.approx(0, abs=1e-8)
