"""Codes compared with labels, by hand."""

import math

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score

from frame.measures.clusters import contingency, normalised_mutual_information, purity


def test_counts() -> None:
    codes, labels = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([1, 1, 0, 1, 0])
    assert contingency(codes, labels, 3, 2).tolist() == [[0, 2], [0, 0], [2, 1]]


def test_purity() -> None:
    """2 of 2 and 2 of 3 rows have their code's label: 4 of 5."""
    assert purity(torch.tensor([[0, 2], [0, 0], [2, 1]])) == pytest.approx(0.8)


def test_renamed_labels_are_perfect_codes() -> None:
    counts = torch.tensor([[0, 5, 0], [0, 0, 3], [2, 0, 0]])
    assert purity(counts) == 1 and normalised_mutual_information(counts) == pytest.approx(1)


def test_uninformative_codes() -> None:
    counts = torch.tensor([[2, 4], [3, 6]])
    assert normalised_mutual_information(counts) == pytest.approx(0, abs=1e-9)
    assert normalised_mutual_information(torch.tensor([[7]])) == 0


def test_information_by_hand() -> None:
    """Code 0 has label 0 twice, code 1 each label once: H(code) = log 2, H(label) and H(both) from 3/4, 1/2."""
    counts = torch.tensor([[2, 0], [1, 1]])
    label = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    both = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    expected = (math.log(2) + label - both) / ((math.log(2) + label) / 2)
    assert normalised_mutual_information(counts) == pytest.approx(expected)


def test_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (500,), generator=generator)
    codes = (labels + torch.randint(0, 2, (500,), generator=generator)) % 4
    expected = normalized_mutual_info_score(labels, codes)
    assert normalised_mutual_information(contingency(codes, labels, 4, 4)) == pytest.approx(expected)
