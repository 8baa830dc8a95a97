"""Scores that predict from codes which factor rows have in common; codes [N, D], factors [N, K]."""

import numpy as np
from torch import Tensor

from frame.common.errors import NoNumber
from frame.measures.factors import Array, checked


def factor_vae_score(
    codes: Tensor,
    factors: Tensor,
    n_fit: int = 10_000,
    n_test: int = 5_000,
    batch_size: int = 64,
    pruned_below: float = 0.05,
    seed: int = 0,
) -> float:
    """Accuracy of predicting the factor that a batch has in common from the code that varies least in it, in [0, 1].

    Kim & Mnih 2018 (1802.05983), section 3 and appendix B. All rows of a batch share the value of one factor. The code
    with the smallest variance, relative to its variance over all rows, votes. A code predicts the factor for which it
    votes most often. Codes whose standard deviation is below `pruned_below` do not vote. Rows of a batch are drawn with
    replacement.

    Raises:
        NoNumber: see `checked`; or no code varies.
    """
    z, v = checked(codes, factors, constant_codes=True)
    spread = z.std(0, ddof=1)
    kept = spread >= pruned_below
    if not kept.any():
        raise NoNumber(f"no code has a standard deviation of {pruned_below}: the posterior has collapsed")
    z = z[:, kept] / spread[kept]
    random = np.random.RandomState(seed)
    votes = []
    for n in (n_fit, n_test):
        factor = random.randint(v.shape[1], size=n)
        least = np.empty(n, dtype=np.int64)
        for some in np.array_split(np.arange(n), max(1, n // 500)):  # all batches at once would need much memory
            rows = rows_in_common(v, factor[some], batch_size, random)  # [n, B]
            least[some] = z[rows].var(1, ddof=1).argmin(1)
        votes.append((least, factor))
    counts = np.zeros((z.shape[1], v.shape[1]), dtype=np.int64)
    np.add.at(counts, votes[0], 1)
    answer = counts.argmax(1)  # [D]
    return float((answer[votes[1][0]] == votes[1][1]).mean())


def beta_vae_score(
    codes: Tensor,
    factors: Tensor,
    n_fit: int = 10_000,
    n_test: int = 5_000,
    batch_size: int = 64,
    seed: int = 0,
) -> float:
    """Accuracy of predicting the factor that pairs have in common from the mean of |z1 - z2|, in [0, 1].

    Higgins et al. 2017, "beta-VAE", section 3. A point is the mean absolute difference of `batch_size` pairs whose two
    rows share the value of one factor. A logistic regression predicts the factor. Chance is one over the number of
    factors.

    Raises:
        NoNumber: see `checked`.
    """
    from sklearn.linear_model import LogisticRegression

    z, v = checked(codes, factors, constant_codes=True)
    random = np.random.RandomState(seed)
    sets = []
    for n in (n_fit, n_test):
        factor = random.randint(v.shape[1], size=n)
        features = np.zeros((n, z.shape[1]))
        for _ in range(batch_size):  # each pair has a value of its own
            rows = rows_in_common(v, factor, 2, random)
            features += np.abs(z[rows[:, 0]] - z[rows[:, 1]]) / batch_size
        sets.append((features, factor))
    classifier = LogisticRegression(max_iter=1000).fit(*sets[0])
    return float(classifier.score(*sets[1]))


def rows_in_common(v: Array, factor: Array, n: int, random: np.random.RandomState) -> Array:
    """Rows [len(factor), n]. All rows of a line share one value of its factor, drawn by its frequency."""
    rows = np.empty((len(factor), n), dtype=np.int64)
    for k in range(v.shape[1]):
        lines = np.flatnonzero(factor == k)
        order = np.argsort(v[:, k], kind="stable")
        sorted_values = v[order, k]
        values = v[random.randint(len(v), size=len(lines)), k]
        first, last = np.searchsorted(sorted_values, values), np.searchsorted(sorted_values, values, side="right")
        picks = first[:, None] + (random.random_sample((len(lines), n)) * (last - first)[:, None]).astype(np.int64)
        rows[lines] = order[picks]
    return rows
