"""FID by the matrix root of a product, KID by loops over pairs, and k-NN balls row by row, in numpy alone."""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def fid(a: Array, b: Array) -> float:
    """tr (S_a S_b)^1/2 is the sum of the roots of the eigenvalues of S_a S_b, which is not symmetric."""
    difference = a.mean(0) - b.mean(0)
    s_a, s_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(s_a @ s_b).astype(complex)).sum().real
    return float(difference @ difference + np.trace(s_a) + np.trace(s_b) - 2 * root)


def mmd(a: Array, b: Array) -> float:
    """One set of pairs after the other, k(x, y) = (x.y / D + 1)^3."""

    def kernel(x: Array, y: Array) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    n, m = len(a), len(b)
    within_a = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(kernel(x, y) for x in a for y in b) / (n * m)
    return within_a + within_b - 2 * between


def radius(rows: Array, i: int, k: int) -> float:
    """Distance of row i to its k-th nearest other row."""
    return sorted(math.dist(rows[i], rows[j]) for j in range(len(rows)) if j != i)[k - 1]


def manifold(rows: Array, point: Array, radii: list[float]) -> int:
    """1 if the point lies in one of the balls; Kynkaanniemi et al. 2019, eq. 1."""
    return int(any(math.dist(point, row) <= r for row, r in zip(rows, radii, strict=True)))


def prdc(real: Array, fake: Array, k: int) -> dict[str, float]:
    r = [radius(real, i, k) for i in range(len(real))]
    f = [radius(fake, i, k) for i in range(len(fake))]
    balls = [[math.dist(x, row) <= radius for row, radius in zip(real, r, strict=True)] for x in fake]
    return {
        "precision": sum(manifold(real, x, r) for x in fake) / len(fake),
        "recall": sum(manifold(fake, x, f) for x in real) / len(real),
        # Naeem et al. 2020, eq. 4 and 5
        "density": sum(sum(row) for row in balls) / (k * len(fake)),
        "coverage": sum(any(row[i] for row in balls) for i in range(len(real))) / len(real),
    }
