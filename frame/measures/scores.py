"""Scores of predicted classes, labels and numbers, with intervals over rows."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew
from frame.measures.neighbours import check_classes

N_DRAWS = 500  # of the bootstrap
FEW_DRAWS = 200  # of a score that sorts the rows
NUMBERS_AT_ONCE = 2**24  # weights of rows held at a time: 64 MiB
KINDS = ("classes", "labels", "numbers")
# by the kind of targets: the units of their scores; the first one chooses between probes
UNITS = {
    "classes": {"accuracy": "%", "balanced_accuracy": "%"},
    "labels": {"macro_F1": "%", "average_precision": "%"},
    "numbers": {"R2": "", "mean_absolute_error": ""},
}


@dataclass(frozen=True)
class Score:
    """A score, its standard error and 95 % interval by the bootstrap over rows; NaN with a single row."""

    value: float
    standard_error: float
    interval: tuple[float, float] | None


def kind_of(y: Tensor) -> str:
    """What targets are, by their type: 'numbers' (floats), 'labels' (several a row, bool [N, K]) or 'classes'."""
    return "numbers" if y.is_floating_point() else "labels" if y.dtype == torch.bool and y.dim() == 2 else "classes"


def scores(predicted: Tensor, y: Tensor, wanted: Collection[str] | None = None) -> dict[str, Score]:
    """The scores in `UNITS` of the kind of y, all but the accuracy, as parts of 1 and not in %.

    Args:
        predicted: classes [N]; probabilities of labels [N, K]; or numbers like y.
        y: classes [N], labels bool [N, K], or numbers [N] or [N, K].
        wanted: those that are computed; None: all.

    Raises:
        TooFew: there are no rows.
        NoNumber: all numbers, or all labels, are the same in every row, or a number is not finite.
    """
    if not len(y):
        raise TooFew("there are no rows to judge")
    of = _scores(predicted, y)
    return {
        name: bootstrapped(score, len(y), FEW_DRAWS if name == "average_precision" else N_DRAWS)
        for name, score in of.items()
        if wanted is None or name in wanted
    }


def _scores(predicted: Tensor, y: Tensor) -> dict[str, Callable[[Tensor | None], Tensor]]:
    """Each score as a function of the weights of rows; raises the errors of `scores`."""
    kind = kind_of(y)
    if kind == "numbers":
        predicted, y = varying(predicted, y)
        return {"R2": partial(r2, predicted, y), "mean_absolute_error": partial(mean_absolute_error, predicted, y)}
    if kind == "labels":
        check_labels(y)
        precision = partial(average_precision, predicted, y)
        return {"macro_F1": partial(macro_f1, predicted > 0.5, y), "average_precision": precision}
    n_classes = 1 + int(max(predicted.max(), y.max()))
    marked, hot = (torch.nn.functional.one_hot(each, n_classes).bool() for each in (predicted, y))
    return {"balanced_accuracy": partial(balanced_accuracy, marked, hot)}


def goodness(predicted: Tensor, y: Tensor) -> float:
    """The first score alone: the accuracy of classes, the macro-F1 of labels, or the R2 of numbers; see `scores`."""
    kind = kind_of(y)
    if kind == "numbers":
        return float(r2(*varying(predicted, y)))
    return float(macro_f1(predicted > 0.5, y)) if kind == "labels" else float((predicted == y).double().mean())


def r2(predicted: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """R^2 = 1 - sum (y - p)^2 / sum (y - mean of y)^2, the mean over K numbers, as scikit-learn's `r2_score`.

    Args:
        predicted, y: [N, K], float64.
        weights: of the rows, [B, N]; None: all are 1, and B is 1.

    Returns:
        For each set of weights, [B]. NaN if y is constant.
    """
    w, centre = _weights(weights, y), y.mean(0)
    y, predicted = y - centre, predicted - centre  # else squares of large numbers would cancel
    mean = w @ y / w.sum(1, keepdim=True)  # [B, K]
    errors = w @ (y - predicted).square()
    spread = w @ y.square() - w.sum(1, keepdim=True) * mean.square()
    return (1 - errors / torch.where(spread > 0, spread, math.nan)).mean(1)


def mean_absolute_error(predicted: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean of |y - p| over rows and numbers, [B]; arguments as for `r2`."""
    w = _weights(weights, y)
    return (w @ (y - predicted).abs() / w.sum(1, keepdim=True)).mean(1)


def balanced_accuracy(predicted: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over classes that occur of the share that is predicted, [B], as scikit-learn's function of this name.

    Args:
        predicted, y: classes as bool [N, K], one of each row.
        weights: see `r2`.
    """
    w = _weights(weights, y)
    there = w @ y.to(w.dtype)
    return ((w @ (predicted & y).to(w.dtype)) / torch.where(there > 0, there, math.nan)).nanmean(1)


def macro_f1(predicted: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean of F1 = 2 TP / (2 TP + FP + FN) over classes or labels that occur or are predicted, [B].

    scikit-learn's `f1_score` with average='macro'; labels that neither occur nor are predicted do not count.

    Args:
        predicted, y: bool [N, K].
        weights: see `r2`.
    """
    w = _weights(weights, y)
    both, those = w @ (predicted & y).to(w.dtype), w @ predicted.to(w.dtype) + w @ y.to(w.dtype)
    return (2 * both / torch.where(those > 0, those, math.nan)).nanmean(1)


def average_precision(p: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over labels that occur of sum_i (recall_i - recall_(i-1)) precision_i, [B].

    i runs over the distinct probabilities from above, as in scikit-learn's `average_precision_score`.

    Args:
        p: probabilities, or any scores, [N, K].
        y: bool [N, K].
        weights: see `r2`.
    """
    w = _weights(weights, y).T.contiguous()  # [N, B]: rows are sorted more quickly than columns
    found = []
    for k in range(y.shape[1]):
        order = p[:, k].argsort(descending=True)
        ranked = p[order, k]
        ends = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)]).nonzero().squeeze(1)
        there, positive = w[order], y[order, k].nonzero().squeeze(1)
        every = there.cumsum(0)[ends]  # up to the end of each run of equal scores
        right = there[positive].cumsum(0)
        right = torch.cat([torch.zeros(1, w.shape[1], dtype=w.dtype), right])
        true = right[torch.searchsorted(positive, ends, right=True)]
        gained, n = torch.diff(true, dim=0, prepend=torch.zeros(1, w.shape[1], dtype=w.dtype)), right[-1]
        precision = true.div_(every.clamp_(min=1e-12))
        found.append((gained * precision).sum(0) / torch.where(n > 0, n, math.nan))
    return torch.stack(found, 1).nanmean(1)


def bootstrapped(score: Callable[[Tensor | None], Tensor], n: int, n_draws: int = N_DRAWS, seed: int = 0) -> Score:
    """A score with its standard error and its 95 % percentile interval over draws of n rows with replacement.

    Args:
        score: weights [B, n] -> [B]; None: each row once.
        n: rows.
        n_draws, seed: of the draws.
    """
    value = float(score(None)[0])
    if n < 2:
        return Score(value, math.nan, None)
    generator, drawn = torch.Generator().manual_seed(seed), []
    for some in torch.arange(n_draws).split(max(1, NUMBERS_AT_ONCE // n)):
        rows = torch.randint(n, (len(some), n), generator=generator)
        weights = torch.zeros(len(some), n, dtype=torch.float64)
        drawn.append(score(weights.scatter_add_(1, rows, torch.ones(1, dtype=torch.float64).expand_as(rows))))
    found = torch.cat(drawn)
    found = found[~found.isnan()]
    if len(found) < 2:
        return Score(value, math.nan, None)
    low, high = found.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Score(value, float(found.std()), (min(low, value), max(high, value)))


def varying(predicted: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers [N, K] in float64, without those that are constant over the rows.

    Raises:
        NoNumber: all are constant, or a number is not finite.
    """
    y, predicted = y.double().reshape(len(y), -1), predicted.double().reshape(len(y), -1)
    check_numbers(y)
    if not predicted.isfinite().all():
        raise NoNumber("predicted numbers are NaN or infinite: the model has diverged")
    kept = (y != y[0]).any(0)
    return predicted[:, kept], y[:, kept]


def check_targets(y: Tensor) -> None:
    """Raises NoNumber if classes [N], labels [N, K] or numbers [N] or [N, K] are the same in all rows."""
    checks = {"classes": check_classes, "labels": check_labels, "numbers": check_numbers}
    checks[kind_of(y)](y)


def check_labels(y: Tensor) -> None:
    """Raises NoNumber if all rows [N, K] have the same labels."""
    if len(y) and (y == y[0]).all():
        raise NoNumber(f"all {len(y)} rows have the same labels, which are always predicted right: give others, too")


def check_numbers(y: Tensor) -> None:
    """Raises NoNumber if numbers [N] or [N, K] are not finite, or are the same in all rows."""
    if not y.isfinite().all():
        n = int((~y.isfinite()).reshape(len(y), -1).any(1).sum())
        raise NoNumber(f"'y' is NaN or infinite in {n} of {len(y)} rows: leave them out")
    if len(y) and (y == y[0]).all():
        raise NoNumber(f"all {len(y)} rows have the same number, {y.reshape(-1)[0]:g}: R2 is not defined")


def by_target(predicted: Tensor, y: Tensor, names: Sequence[str], scale: Tensor | float = 1.0) -> list[list[object]]:
    """A row for each label or number: its name and its two scores.

    F1 and average precision in %, or R2 and the mean absolute error times `scale`; NaN for one that is constant.
    """
    if kind_of(y) == "labels":
        each = [(macro_f1, predicted > 0.5), (average_precision, predicted)]
        return [
            [name, *(100 * float(score(p[:, [k]], y[:, [k]])) for score, p in each)] for k, name in enumerate(names)
        ]
    y, predicted = y.double().reshape(len(y), -1), predicted.double().reshape(len(y), -1)
    units = torch.as_tensor(scale, dtype=torch.float64).expand(y.shape[1])
    return [
        [
            name,
            float(r2(predicted[:, [k]], y[:, [k]])),
            float(mean_absolute_error(predicted[:, [k]], y[:, [k]]) * units[k]),
        ]
        for k, name in enumerate(names)
    ]


def _weights(weights: Tensor | None, y: Tensor) -> Tensor:
    return torch.ones(1, len(y), dtype=torch.float64) if weights is None else weights.double()
