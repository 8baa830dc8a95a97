"""Usage of a codebook, by hand."""

import pytest
import torch

from frame.measures.codes import perplexity, usage


def test_usage_counts() -> None:
    indices = torch.tensor([[[0, 3], [3, 3]], [[1, 0], [3, 0]]])
    assert usage(indices, 5).tolist() == [3, 1, 0, 4, 0]


def test_perplexity_of_equal_counts_is_their_number_and_of_one_code_1() -> None:
    assert perplexity(torch.full((12,), 7.0)).item() == pytest.approx(12)
    assert perplexity(torch.tensor([0.0, 5.0, 5.0, 0.0])).item() == pytest.approx(2)
    assert perplexity(torch.tensor([0.0, 9.0, 0.0])).item() == 1


def test_perplexity() -> None:
    """Frequencies 1/2, 1/4, 1/4: entropy 1/2 ln 2 + 2 * 1/4 ln 4 = 1.5 ln 2."""
    assert perplexity(torch.tensor([2.0, 1.0, 1.0])).item() == pytest.approx(2**1.5)
