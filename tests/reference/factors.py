"""Slow measures of factors in numpy alone, from the papers' definitions, to check the fast ones."""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def in_bins(code: Array, n_bins: int) -> list[int]:
    """The index of each value's bin among `n_bins` equal parts of the range; the maximum is in the last."""
    low, high = min(code), max(code)
    found = []
    for value in code:
        edge = 0
        while edge < n_bins - 1 and (value - low) / (high - low) * n_bins >= edge + 1:
            edge += 1
        found.append(edge)
    return found


def information(a: list[int], b: list[int]) -> float:
    """sum over pairs of p(a, b) log(p(a, b) / (p(a) p(b))), nats."""
    n = len(a)
    total = 0.0
    for x in set(a):
        for y in set(b):
            together = sum(1 for i in range(n) if a[i] == x and b[i] == y) / n
            if together > 0:
                alone = (a.count(x) / n) * (b.count(y) / n)
                total += together * math.log(together / alone)
    return total


def entropy(a: list[int]) -> float:
    return -sum(a.count(x) / len(a) * math.log(a.count(x) / len(a)) for x in set(a))


def mig(codes: Array, factors: Array, n_bins: int) -> float:
    gaps = []
    for k in range(factors.shape[1]):
        v = [int(value) for value in factors[:, k]]
        shared = sorted(information(in_bins(codes[:, d], n_bins), v) for d in range(codes.shape[1]))
        gaps.append((shared[-1] - shared[-2]) / entropy(v))
    return sum(gaps) / len(gaps)


def modularity(codes: Array, factors: Array, n_bins: int) -> float:
    scores = []
    for d in range(codes.shape[1]):
        z = in_bins(codes[:, d], n_bins)
        m = [information(z, [int(value) for value in factors[:, k]]) for k in range(factors.shape[1])]
        theta = max(m)
        template = [theta if i == m.index(theta) else 0.0 for i in range(len(m))]
        deviation = sum((a - t) ** 2 for a, t in zip(m, template, strict=True)) / (theta**2 * (len(m) - 1))
        scores.append(1 - deviation)
    return sum(scores) / len(scores)


def disentanglement_and_completeness(importance: Array) -> tuple[float, float]:
    """Eastwood & Williams 2018 on a matrix R[d, k]."""
    n_codes, n_factors = importance.shape
    disentanglement = 0.0
    for d in range(n_codes):
        row = importance[d]
        h = 0.0
        for k in range(n_factors):
            p = row[k] / row.sum()
            h -= p * math.log(p) / math.log(n_factors) if p > 0 else 0.0
        disentanglement += row.sum() / importance.sum() * (1 - h)
    completeness = 0.0
    for k in range(n_factors):
        column = importance[:, k]
        h = 0.0
        for d in range(n_codes):
            p = column[d] / column.sum()
            h -= p * math.log(p) / math.log(n_codes) if p > 0 else 0.0
        completeness += (1 - h) / n_factors
    return disentanglement, completeness


def area_under_curve(scores: Array, positive: Array) -> float:
    """The share of (positive, negative) pairs that are ranked correctly; ties count half."""
    right = 0.0
    for a in scores[positive]:
        for b in scores[~positive]:
            right += 1.0 if a > b else 0.5 if a == b else 0.0
    return right / (positive.sum() * (~positive).sum())


def explicitness(fit: tuple[Array, Array], rank: tuple[Array, Array], c: float = 1e3) -> float:
    """Ridgeway & Mozer 2018 (1802.05312), section 3: AUC of each value against the rest by its probability.

    A linear softmax classifier with the penalty |W|^2 / (2 C), by Newton's steps; means over values, then factors.
    """
    (z, v), (z_rank, v_rank) = fit, rank
    spread = np.where(z.std(0) > 0, z.std(0), 1)
    x, x_rank = (z - z.mean(0)) / spread, (z_rank - z.mean(0)) / spread
    rows, ranked = np.column_stack([x, np.ones(len(x))]), np.column_stack([x_rank, np.ones(len(x_rank))])
    scores = []
    for k in range(v.shape[1]):
        values = sorted(set(v[:, k].tolist()))
        truth = np.array([[1.0 if value == one else 0.0 for value in values] for one in v[:, k]])
        w = np.zeros((rows.shape[1], len(values)))
        keep = np.ones_like(w)
        keep[-1] = 1e-6  # almost no penalty on the intercepts
        for _ in range(100):
            p = probabilities(rows @ w)
            slope = c * rows.T @ (p - truth) + keep * w
            bend = np.zeros((w.size, w.size))
            for a in range(len(values)):
                for b in range(len(values)):
                    weight = p[:, a] * ((a == b) - p[:, b])
                    block = c * (rows * weight[:, None]).T @ rows
                    bend[a :: len(values), b :: len(values)] = block
            bend += np.diag(keep.ravel()) + 1e-9 * np.eye(w.size)
            step = np.linalg.solve(bend, slope.ravel()).reshape(w.shape)
            w = w - step
            if np.abs(step).max() < 1e-8:
                break
        p = probabilities(ranked @ w)
        areas = [area_under_curve(p[:, i], v_rank[:, k] == value) for i, value in enumerate(values)]
        scores.append(sum(areas) / len(areas))
    return 2 * sum(scores) / len(scores) - 1


def probabilities(heights: Array) -> Array:
    p = np.exp(heights - heights.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def factor_vae_score(codes: Array, factors: Array, batches: list[tuple[int, list[int]]], n_fit: int) -> float:
    """Majority vote on given batches (factor, rows); the first `n_fit` are fitted, the others tested."""
    everywhere = [np.var(codes[:, d], ddof=1) for d in range(codes.shape[1])]
    votes = []
    for factor, rows in batches:
        ratios = [np.var(codes[rows, d], ddof=1) / everywhere[d] for d in range(codes.shape[1])]
        votes.append((ratios.index(min(ratios)), factor))
    answers = {}
    for d in range(codes.shape[1]):
        counts = [sum(1 for vote in votes[:n_fit] if vote == (d, k)) for k in range(factors.shape[1])]
        answers[d] = counts.index(max(counts))
    return sum(answers[d] == k for d, k in votes[n_fit:]) / len(votes[n_fit:])


def linear_machine(z: Array, sign: Array, cost: Array) -> tuple[float, float]:
    """w, b that minimise (w^2 + b^2) / 2 + sum_i cost_i max(0, 1 - sign_i (w z_i + b))^2, by damped Newton steps."""

    def objective(point: Array) -> float:
        gap = np.maximum(0, 1 - sign * (point[0] * z + point[1]))
        return float(point @ point / 2 + (cost * gap**2).sum())

    rows, point = np.stack([z, np.ones(len(z))], 1), np.zeros(2)
    for _ in range(200):
        gap = 1 - sign * (rows @ point)
        inside = gap > 0
        slope = point - 2 * rows[inside].T @ (cost * sign * gap)[inside]
        if np.abs(slope).max() < 1e-9:
            break
        step = np.linalg.solve(np.eye(2) + 2 * (rows[inside] * cost[inside, None]).T @ rows[inside], slope)
        length = 1.0
        while objective(point - length * step) > objective(point) and length > 1e-9:
            length /= 2
        point = point - length * step
    return float(point[0]), float(point[1])


def sap(fit: tuple[Array, Array], test: tuple[Array, Array], c: float = 0.01) -> float:
    """Kumar et al. 2018: one machine per code, factor and value against the rest; the highest wins.

    A value's rows cost C N / (number of values * rows of it), the rest C; of two values, both are weighted this way.
    """
    (z, v), (z_test, v_test) = fit, test
    gaps = []
    for k in range(v.shape[1]):
        values = sorted(set(v[:, k].tolist()))
        weight = {value: len(v) / (len(values) * (v[:, k] == value).sum()) for value in values}
        accuracies = []
        for d in range(z.shape[1]):
            heights = []
            for value in values:
                mine = v[:, k] == value
                rest = np.array([weight[other] if len(values) == 2 else 1.0 for other in v[:, k]])
                w, b = linear_machine(z[:, d], np.where(mine, 1, -1), c * np.where(mine, weight[value], rest))
                heights.append(w * z_test[:, d] + b)
            said = np.array(values)[np.argmax(heights, axis=0)]
            accuracies.append(float((said == v_test[:, k]).mean()))
        accuracies.sort()
        gaps.append(accuracies[-1] - accuracies[-2])
    return sum(gaps) / len(gaps)


def beta_vae_score(codes: Array, points: list[tuple[int, list[tuple[int, int]]]], n_fit: int) -> float:
    """Higgins et al. 2017 on given points (factor, pairs of rows); the first `n_fit` are fitted, the others tested.

    A linear softmax classifier with a penalty |W|^2 / 2, by gradient descent.
    """
    x = np.array([np.mean([np.abs(codes[i] - codes[j]) for i, j in pairs], axis=0) for _, pairs in points])
    y = np.array([factor for factor, _ in points])
    n_factors = y.max() + 1
    w, b = np.zeros((x.shape[1], n_factors)), np.zeros(n_factors)
    truth = np.eye(n_factors)[y[:n_fit]]
    rate = 1 / (1 + n_fit * (1 + (x[:n_fit] ** 2).sum(1).max()) / 2)
    for _ in range(20_000):
        heights = x[:n_fit] @ w + b
        p = np.exp(heights - heights.max(1, keepdims=True))
        error = p / p.sum(1, keepdims=True) - truth
        w, b = w - rate * (x[:n_fit].T @ error + w), b - rate * error.sum(0)
    return float(((x[n_fit:] @ w + b).argmax(1) == y[n_fit:]).mean())
