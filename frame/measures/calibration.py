"""Calibration of class probabilities."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError, at_least

LIMITS = (0.01, 100.0)  # the range of temperatures


@dataclass(frozen=True)
class Reliability:
    """Rows in bins of their confidence, the probability of the most probable class; empty bins are left out."""

    low: Tensor  # [B], where a bin begins
    high: Tensor  # [B], where it ends
    n: Tensor  # [B], rows
    confidence: Tensor  # [B], mean over the bin
    accuracy: Tensor  # [B]

    @property
    def error(self) -> float:
        """Expected calibration error, sum_b n_b / N |accuracy_b - confidence_b|, in [0, 1]."""
        return float((self.n * (self.accuracy - self.confidence).abs()).sum() / self.n.sum())


def reliability(log_p: Tensor, y: Tensor, n_bins: int = 15, equal_mass: bool = False) -> Reliability:
    """Confidence and accuracy in bins; the result's `.error` is the expected calibration error.

    Bins are equally wide (Guo et al. 2017, 1706.04599, eq. 3), or have equally many rows (Nguyen and O'Connor 2015,
    1508.05154). The error of equally wide bins equals that of torchmetrics, which returns no bins for a reliability
    diagram and has no bins of equally many rows. On finitely many rows, even calibrated probabilities have an error
    above 0, which grows with the number of bins: each bin's accuracy varies by sqrt(p (1 - p) / n_b).

    Args:
        log_p: log-probabilities of the classes, [N, K].
        y: classes, [N].
        n_bins: number of bins in [0, 1].
        equal_mass: use bins with equally many rows.

    Raises:
        UserError, NoNumber: see `check_probabilities`.
        TooFew: fewer rows than bins.
    """
    at_least(1, n_bins=n_bins)
    check_probabilities(log_p, y)
    if len(y) < n_bins:
        raise TooFew(f"{len(y)} rows are too few for {n_bins} bins")
    log_c, said = log_p.double().max(1)
    c, right = log_c.exp(), (said == y).double()
    if equal_mass:
        order = c.argsort(stable=True)
        parts = [part for part in order.tensor_split(n_bins)]
        low, high = torch.stack([c[part[0]] for part in parts]), torch.stack([c[part[-1]] for part in parts])
        bins = torch.empty_like(order)
        for b, part in enumerate(parts):
            bins[part] = b
    else:
        # Edges in float32, as in other libraries, so that confidences on an edge fall into the same bins
        edges = torch.linspace(0, 1, n_bins + 1)
        low, high = edges[:-1].double(), edges[1:].double()
        bins = (torch.bucketize(c.float(), edges, right=True) - 1).clamp(0, n_bins - 1)
    n = torch.bincount(bins, minlength=n_bins)
    some = n > 0
    sums = torch.zeros(2, n_bins, dtype=torch.float64, device=c.device).index_add_(1, bins, torch.stack([c, right]))
    confidence, accuracy = (sums / n.clamp(min=1))[:, some]
    return Reliability(low[some], high[some], n[some], confidence, accuracy)


def negative_log_likelihoods(log_p: Tensor, y: Tensor) -> Tensor:
    """-log p(y), nats, [N].

    Raises:
        UserError, NoNumber: see `check_probabilities`; a label has probability 0.
    """
    check_probabilities(log_p, y)
    found = -log_p.double().gather(1, y.unsqueeze(1)).squeeze(1)
    if not found.isfinite().all():
        raise NoNumber(f"{int((~found.isfinite()).sum())} labels have probability 0, so that -log p(y) is infinite")
    return found


def brier_scores(log_p: Tensor, y: Tensor) -> Tensor:
    """sum_k (p_k - 1[y = k])^2, [N], from 0 to 2 (Brier 1950, Monthly Weather Review 78).

    Raises:
        UserError, NoNumber: see `check_probabilities`.
    """
    check_probabilities(log_p, y)
    target = torch.nn.functional.one_hot(y, log_p.shape[1])
    return (log_p.double().exp() - target).square().sum(1)


def fitted_temperature(log_p: Tensor, y: Tensor) -> float:
    """T in LIMITS with the largest likelihood of softmax(log p / T) on these rows (Guo et al. 2017, sec. 4.2).

    The mean of -log p(y) is convex in 1 / T, so bisection finds the zero of its derivative.

    Raises:
        UserError, NoNumber: see `check_probabilities`.
    """
    check_probabilities(log_p, y)
    logits = log_p.double().clamp(min=-1e4)  # 0 times minus infinity is not 0
    of_label = logits.gather(1, y.unsqueeze(1)).mean()
    low, high = math.log(1 / LIMITS[1]), math.log(1 / LIMITS[0])  # of log(1 / T)
    for _ in range(50):
        middle = (low + high) / 2
        slope = (((math.exp(middle) * logits).softmax(1) * logits).sum(1)).mean() - of_label
        low, high = (middle, high) if slope <= 0 else (low, middle)
    return math.exp(-(low + high) / 2)


def at_temperature(log_p: Tensor, temperature: float) -> Tensor:
    """Log-probabilities softmax(log p / T), [N, K]; the most probable class does not change."""
    if not temperature > 0:
        raise UserError(f"temperature={temperature}: it must be positive")
    return (log_p.double() / temperature).log_softmax(1)


def check_probabilities(log_p: Tensor, y: Tensor) -> None:
    """Refuses probabilities that would give a misleading number.

    Raises:
        UserError: shapes do not fit, or a label is not a class of log_p.
        NoNumber: a value is NaN, or a row's probabilities do not sum to 1.
        TooFew: there are no rows.
    """
    if log_p.dim() != 2 or y.shape != log_p.shape[:1]:
        raise UserError(f"log-probabilities {list(log_p.shape)} and labels {list(y.shape)}: give [N, K] and [N]")
    if not len(y):
        raise TooFew("there are no rows: calibration needs some")
    if y.is_floating_point() or int(y.min()) < 0 or int(y.max()) >= log_p.shape[1]:
        raise UserError(f"labels must be classes 0 to {log_p.shape[1] - 1}, as many as there are probabilities")
    if log_p.isnan().any():
        raise NoNumber("log-probabilities have NaN values: the model has diverged")
    if (log_p.double().logsumexp(1).abs() > 1e-3).any():
        raise NoNumber("probabilities of the classes do not sum to 1: predict() must give log-probabilities")
