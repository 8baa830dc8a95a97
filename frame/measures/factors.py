"""How well single codes represent single factors of variation, from arrays alone.

Codes are numbers [N, D], factors are indices of values [N, K]. The score of a perfect code depends on the estimator and
on the number of values of a factor. Each measure gives that score for dSprites, whose factors have 3, 6, 40, 32 and 32
values. Protocols and numbers of rows follow Locatello et al. 2019 (1811.12359) where the paper of a measure leaves
them open.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError, at_least

Array = np.ndarray[Any, Any]


def mig(codes: Tensor, factors: Tensor, n_bins: int = 20) -> float:
    """Mutual information gap: the mean over factors of (I(best code; v) - I(second best; v)) / H(v), in [0, 1].

    Chen et al. 2018 (1802.04942), eq. 6, on codes in `n_bins` bins of equal width. A perfect code of dSprites has 0.90,
    because 20 bins cannot tell 32 or 40 values apart. A factor with no more values than bins can have 1.

    Raises:
        UserError: see `checked`; or there is only one code.
    """
    z, v = checked(codes, factors)
    if z.shape[1] < 2:
        raise UserError("MIG compares the two best codes for a factor: give at least 2")
    information, entropy = binned_information(z, v, n_bins)
    best = np.sort(information, axis=0)[::-1]  # [D, K]
    return float(((best[0] - best[1]) / entropy).mean())


def modularity(codes: Tensor, factors: Tensor, n_bins: int = 20) -> float:
    """How much each code depends on a single factor, averaged over codes, in [0, 1].

    Ridgeway & Mozer 2018 (1802.05312), eq. 2: 1 - sum over f != f* of I(z; v_f)^2 / (I(z; v_f*)^2 (K - 1)). A constant
    code counts as 0. A code of noise does not have 0: its information is the histogram's bias, which is nearly
    proportional to a factor's number of values. It has 0.68 on 10,000 rows of dSprites.

    Raises:
        UserError: see `checked`; or there is only one factor.
    """
    z, v = checked(codes, factors, constant_codes=True)
    if v.shape[1] < 2:
        raise UserError("modularity compares factors: give at least 2")
    squares = binned_information(z, v, n_bins)[0] ** 2  # [D, K]
    best = squares.max(1)
    others = squares.sum(1) - best
    with np.errstate(invalid="ignore"):
        found = np.where(best > 0, 1 - others / (best * (v.shape[1] - 1)), 0.0)
    return float(found.mean())


def explicitness(codes: Tensor, factors: Tensor, seed: int = 0) -> float:
    """How well a linear classifier ranks the rows of each value of a factor by all codes; 1 is perfect, 0 is chance.

    Ridgeway & Mozer 2018 (1802.05312), section 3: the area under the ROC curve of each value against the rest, averaged
    over the values of a factor, then over factors, and rescaled from [0.5, 1] to [0, 1]. Rows are ranked by the
    probability of the value, because with more than two values it is not a monotone function of the value's logit. A
    multinomial logistic regression for each factor is fitted to standardised codes of half of the rows, and ranks the
    other half. A perfect code of dSprites has 0.94 to 1.

    Raises:
        UserError: see `checked`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    z, v = checked(codes, factors, constant_codes=True)
    (z_fit, v_fit), (z_rank, v_rank) = halves(z, v, seed)
    mean, spread = z_fit.mean(0), z_fit.std(0)
    z_fit, z_rank = ((part - mean) / np.where(spread > 0, spread, 1) for part in (z_fit, z_rank))
    scores = []
    for k in range(v.shape[1]):
        classifier = LogisticRegression(C=1e3, tol=1e-3, max_iter=1000).fit(z_fit, v_fit[:, k])
        probabilities = classifier.predict_proba(z_rank)
        areas = []
        for column, value in enumerate(classifier.classes_):
            is_value = v_rank[:, k] == value
            if 0 < is_value.sum() < len(is_value):
                areas.append(roc_auc_score(is_value, probabilities[:, column]))
        scores.append(np.mean(areas))
    return float(2 * np.mean(scores) - 1)


def sap(codes: Tensor, factors: Tensor, seed: int = 0) -> float:
    """Separated attribute predictability: mean over factors of the accuracy of the best code minus the second best.

    Kumar et al. 2018 (1711.00848), section 3: the accuracy of a linear support vector machine (C = 0.01, classes
    weighted equally) that sees one code. It is fitted on half of the rows and tested on the other half. On a line,
    one-against-rest cannot single out a value in the middle, so a perfect code of dSprites, in [0, 1], has only about
    0.18. The penalty makes the score depend on a code's scale. As in the literature, codes are not rescaled.

    Raises:
        UserError: see `checked`; or there is only one code.
    """
    from sklearn.svm import LinearSVC

    z, v = checked(codes, factors)
    if z.shape[1] < 2:
        raise UserError("SAP compares the two best codes for a factor: give at least 2")
    (z_fit, v_fit), (z_test, v_test) = halves(z, v, seed)
    scores = np.zeros((z.shape[1], v.shape[1]))  # [D, K]
    for k in range(v.shape[1]):
        for d in range(z.shape[1]):
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=False)  # primal: a line has two unknowns
            scores[d, k] = machine.fit(z_fit[:, d : d + 1], v_fit[:, k]).score(z_test[:, d : d + 1], v_test[:, k])
    best = np.sort(scores, axis=0)[::-1]
    return float((best[0] - best[1]).mean())


def dci(
    codes: Tensor,
    factors: Tensor,
    n_fit: int = 10_000,
    n_test: int = 5_000,
    seed: int = 0,
    n_jobs: int = 1,
    classifier: Callable[[int], Any] | None = None,
) -> dict[str, float]:
    """'disentanglement', 'completeness' and 'informativeness', all in [0, 1].

    Eastwood & Williams 2018, "A framework for the quantitative evaluation of disentangled representations", section 2,
    but with gradient-boosted trees instead of lasso and forest (Locatello et al. 2019). R[d, k] is the importance of
    code d for factor k. Disentanglement is 1 - H_K of each code's row, weighted by the code's share of all importance.
    Completeness is 1 - H_D of each factor's column, averaged. Informativeness is the accuracy on rows that were not
    fitted, where the paper takes an error.

    Args:
        n_fit, n_test: rows to fit and to test; two thirds and one third if there are fewer rows.
        n_jobs: processes, each for one factor at a time.
        classifier: from a seed to a classifier with fit, score and feature_importances_; boosting by default.

    Raises:
        UserError: see `checked`.
    """
    z, v = checked(codes, factors, constant_codes=True)
    order = np.random.RandomState(seed).permutation(len(z))
    if len(z) < n_fit + n_test:
        n_fit, n_test = len(z) * 2 // 3, len(z) - len(z) * 2 // 3
    fit, test = order[:n_fit], order[n_fit : n_fit + n_test]
    make = classifier or boosting
    jobs = [(make, seed, z[fit], v[fit, k], z[test], v[test, k]) for k in range(v.shape[1])]
    if n_jobs > 1:
        # a factor's cost grows with its number of values: the largest start first, so that all processes end together
        longest = sorted(range(len(jobs)), key=lambda k: -len(np.unique(v[:, k])))
        with ProcessPoolExecutor(n_jobs) as pool:
            of = dict(zip(longest, pool.map(_importances, [jobs[k] for k in longest]), strict=True))
        found = [of[k] for k in range(len(jobs))]
    else:
        found = [_importances(job) for job in jobs]
    importance = np.stack([column for column, _ in found], 1)  # R, [D, K]
    total = importance.sum()
    if total == 0:
        return {"disentanglement": 0.0, "completeness": 0.0, "informativeness": float(np.mean([a for _, a in found]))}
    per_code = 1 - _entropy(importance.T) / np.log(importance.shape[1])  # [D]
    per_factor = 1 - _entropy(importance) / np.log(importance.shape[0])  # [K]
    return {
        "disentanglement": float((importance.sum(1) / total * per_code).sum()),
        "completeness": float(per_factor.mean()),
        "informativeness": float(np.mean([accuracy for _, accuracy in found])),
    }


def boosting(seed: int) -> Any:
    """scikit-learn's gradient-boosted trees with its default settings."""
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(random_state=seed)


def _importances(job: tuple[Any, int, Array, Array, Array, Array]) -> tuple[Array, float]:
    make, seed, z_fit, v_fit, z_test, v_test = job
    fitted = make(seed).fit(z_fit, v_fit)
    return np.abs(fitted.feature_importances_), float(fitted.score(z_test, v_test))


def _entropy(weights: Array) -> Array:
    """Entropy in nats of each column, normalised to sum 1; a column of zeros counts as the uniform distribution."""
    total = weights.sum(0)
    p = np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / len(weights))
    return -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=0)


def binned_information(z: Array, v: Array, n_bins: int) -> tuple[Array, Array]:
    """I(z_d; v_k) [D, K] in nats, codes in `n_bins` bins of equal width over their range, and H(v_k)."""
    at_least(2, n_bins=n_bins)
    low, high = z.min(0), z.max(0)
    width = np.where(high > low, high - low, 1)
    bins = np.minimum(((z - low) / width * n_bins).astype(np.int64), n_bins - 1)  # [N, D]
    information, entropy = np.zeros((z.shape[1], v.shape[1])), np.zeros(v.shape[1])
    for k in range(v.shape[1]):
        values, index = np.unique(v[:, k], return_inverse=True)
        entropy[k] = _nats(np.bincount(index))
        for d in range(z.shape[1]):
            # I = H(z) + H(v) - H(z, v)
            joint = np.bincount(bins[:, d] * len(values) + index)
            information[d, k] = _nats(np.bincount(bins[:, d])) + entropy[k] - _nats(joint)
    return np.maximum(information, 0.0), entropy


def _nats(counts: Array) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def halves(z: Array, v: Array, seed: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Two halves of the rows, shuffled."""
    order = np.random.RandomState(seed).permutation(len(z))
    fit, rest = order[: len(z) // 2], order[len(z) // 2 :]
    return (z[fit], v[fit]), (z[rest], v[rest])


def checked(codes: Tensor, factors: Tensor, constant_codes: bool = False) -> tuple[Array, Array]:
    """Codes as float64 and factors as integers, in numpy.

    Raises:
        TooFew: fewer rows than values of a factor.
        NoNumber: a value is NaN, a factor has one value, or the codes are constant and `constant_codes` is False.
        UserError: shapes do not fit, or factors are not integers.
    """
    z, v = torch.as_tensor(codes).detach().cpu().double().numpy(), torch.as_tensor(factors).detach().cpu().numpy()
    if z.ndim != 2 or v.ndim != 2 or len(z) != len(v):
        raise UserError(f"codes {list(z.shape)} and factors {list(v.shape)}: give [N, D] and [N, K]")
    if not np.isfinite(z).all():
        raise NoNumber("codes have values that are NaN or infinite: the model has diverged")
    if np.issubdtype(v.dtype, np.floating):
        raise UserError("factors are continuous: give the index of each factor's value, as integers")
    if len(z) < 4 * max(len(np.unique(v[:, k])) for k in range(v.shape[1])):
        raise TooFew(f"{len(z)} rows are too few for factors with so many values: give at least 4 times as many")
    for k in range(v.shape[1]):
        if len(np.unique(v[:, k])) < 2:
            raise NoNumber(f"factor {k} has one value only in these rows: leave it out")
    constant = np.flatnonzero(z.max(0) == z.min(0))
    if len(constant) == z.shape[1] or (len(constant) and not constant_codes and z.shape[1] - len(constant) < 2):
        raise NoNumber("the codes are constant: the posterior has collapsed")
    return z, v
