"""How well a partition into codes agrees with labels."""

import torch
from torch import Tensor


def contingency(codes: Tensor, labels: Tensor, n_codes: int, n_labels: int) -> Tensor:
    """How often each code (row) has each label (column): integers, [n_codes, n_labels]."""
    return torch.bincount(codes * n_labels + labels, minlength=n_codes * n_labels).view(n_codes, n_labels)


def purity(counts: Tensor) -> float:
    """The share of rows that have their code's most frequent label; at least the share of the most frequent label."""
    return (counts.max(dim=1).values.sum() / counts.sum()).item()


def normalised_mutual_information(counts: Tensor) -> float:
    """I(code; label) divided by the mean of the two entropies, in [0, 1]; 0 if both are constant."""
    p = counts.double() / counts.sum()
    code, label = p.sum(1), p.sum(0)
    information = _entropy(code) + _entropy(label) - _entropy(p.flatten())
    mean = (_entropy(code) + _entropy(label)) / 2
    return (information / mean).item() if mean > 0 else 0.0


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p).sum()
