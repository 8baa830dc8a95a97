"""Principal components of fewer rows than columns."""

import pytest
import torch

from frame.measures.pca import PCA


@pytest.mark.parametrize("whiten", [False, True])
def test_few_rows_have_the_components_of_their_covariance(whiten: bool) -> None:
    torch.manual_seed(0)
    x, other = torch.randn(6, 10) * torch.arange(1, 11), torch.randn(4, 10)
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / 6)
    found = PCA(x, 7, whiten)
    expected = (other - x.mean(0)) @ vectors.flip(1)[:, :5]  # 6 centred rows span 5 dimensions
    if whiten:
        expected = expected * values.flip(0)[:5].rsqrt()
    assert found(other).shape == (4, 7)
    torch.testing.assert_close(found(other)[:, :5].abs(), expected.abs(), rtol=1e-3, atol=1e-3)
    assert not found(other)[:, 5:].any()
    torch.testing.assert_close(
        found(x).square().sum(), (5.0 * 6 if whiten else centred.square().sum()) + torch.zeros(())
    )


def test_equal_rows_have_no_component() -> None:
    assert not PCA(torch.ones(3, 10), 2)(torch.ones(3, 10)).any()
