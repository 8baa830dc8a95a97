"""CKA by its N x N kernels and mutual neighbours by sorting, in numpy alone, from the papers' definitions."""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def biased_hsic(k: Array, l: Array) -> float:  # noqa: E741
    """tr(K H L H) / (N - 1)^2."""
    n = len(k)
    h = np.eye(n) - np.ones((n, n)) / n
    return float(np.trace(k @ h @ l @ h)) / (n - 1) ** 2


def unbiased_hsic(k: Array, l: Array) -> float:  # noqa: E741
    """Song et al. 2012, eq. 5, with the diagonals of both kernels set to 0."""
    n = len(k)
    a, b, one = k.copy(), l.copy(), np.ones(n)
    np.fill_diagonal(a, 0)
    np.fill_diagonal(b, 0)
    total = float(np.trace(a @ b))
    total += float(one @ a @ one) * float(one @ b @ one) / ((n - 1) * (n - 2))
    total -= 2 / (n - 2) * float(one @ a @ b @ one)
    return total / (n * (n - 3))


def cka(x: Array, y: Array, debiased: bool) -> float:
    k, l = x @ x.T, y @ y.T  # noqa: E741
    hsic = unbiased_hsic if debiased else biased_hsic
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


def mutual_knn(x: Array, y: Array, k: int) -> float:
    def nearest(codes: Array, i: int) -> set[int]:
        def cosine(j: int) -> float:
            return float(codes[i] @ codes[j] / (np.linalg.norm(codes[i]) * np.linalg.norm(codes[j])))

        return set(sorted((j for j in range(len(codes)) if j != i), key=cosine)[-k:])

    return sum(len(nearest(x, i) & nearest(y, i)) / k for i in range(len(x))) / len(x)
