"""How well a partition into codes agrees with labels that it never saw."""

import torch
from torch import Tensor


def contingency(codes: Tensor, labels: Tensor, n_codes: int, n_labels: int) -> Tensor:
    """How often each code, a row, meets each label, a column: [n_codes, n_labels] of whole numbers."""
    return torch.bincount(codes * n_labels + labels, minlength=n_codes * n_labels).view(n_codes, n_labels)


def purity(counts: Tensor) -> float:
    """The part of all rows that have their code's most frequent label: at least that of the most frequent label."""
    return (counts.max(dim=1).values.sum() / counts.sum()).item()


def normalised_mutual_information(counts: Tensor) -> float:
    """I(code; label) over the mean of the two entropies, in [0, 1]; 0 where both are constant."""
    p = counts.double() / counts.sum()
    code, label = p.sum(1), p.sum(0)
    information = _entropy(code) + _entropy(label) - _entropy(p.flatten())
    mean = (_entropy(code) + _entropy(label)) / 2
    return (information / mean).item() if mean > 0 else 0.0


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p).sum()
