"""Measures of factors, slowly, in numpy alone, from the papers' definitions; what the fast ones are checked against."""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def in_bins(code: Array, n_bins: int) -> list[int]:
    """Which of `n_bins` equal parts of its range each value lies in; the largest belongs to the last."""
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
    """The share of (positive, negative) pairs that are ranked rightly; ties count half."""
    right = 0.0
    for a in scores[positive]:
        for b in scores[~positive]:
            right += 1.0 if a > b else 0.5 if a == b else 0.0
    return right / (positive.sum() * (~positive).sum())


def factor_vae_score(codes: Array, factors: Array, batches: list[tuple[int, list[int]]], n_fit: int) -> float:
    """Majority vote on given batches: (factor, its rows); the first `n_fit` teach, the others are tested."""
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
