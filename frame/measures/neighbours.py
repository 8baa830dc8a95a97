"""Classification by nearest neighbours, which needs no training."""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from frame.common.errors import NoNumber, UserError, at_least, choices
from frame.measures.statistics import fraction

METRICS = ("euclidean", "cosine")
NUMBERS_AT_ONCE = 2**24  # similarities held at a time: 64 MiB
ROWS = 4096  # rows of the bank that are normalised at a time


def nearest_neighbour_accuracy(
    codes_train: Tensor,
    y_train: Tensor,
    codes_test: Tensor,
    y_test: Tensor,
    k: int = 1,
    metric: str = "euclidean",
    temperature: float | None = None,
    leave_one_out: bool = False,
) -> tuple[float, float]:
    """Fraction of rows whose class is that of their `k` nearest training rows, and its binomial standard error.

    Args:
        codes_train, codes_test: [N, D] and [M, D].
        y_train, y_test: [N] and [M], classes 0, 1, ...
        k, metric, temperature, leave_one_out: see `neighbours_vote`.

    Raises:
        UserError: see `check_classes`, `check_codes` and `neighbours_vote`.
    """
    check_classes(y_train)
    check_codes(codes_train)
    found = neighbours_vote(codes_train, y_train, codes_test, k, metric, temperature, leave_one_out)
    return fraction(found == y_test)


def neighbours_vote(
    codes_train: Tensor,
    y_train: Tensor,
    codes_test: Tensor,
    k: int = 1,
    metric: str = "euclidean",
    temperature: float | None = None,
    leave_one_out: bool = False,
) -> Tensor:
    """The class for which the `k` nearest training rows vote, [M].

    Args:
        codes_train, y_train, codes_test: [N, D], [N], [M, D].
        k: number of neighbours; all rows if there are fewer.
        metric: 'euclidean' or 'cosine'.
        temperature: a vote weighs exp(s / temperature) for a cosine s (Wu et al. 2018, 1805.01978, sec. 3.4; k = 200
            and temperature 0.1 are usual). With None all votes are equal, and the nearer class wins a tie.
        leave_one_out: row i of the test set is row i of the training set, and not its own neighbour.

    Raises:
        UserError: shapes do not fit, a number is out of range, codes are not finite, or there is a temperature without
            the cosine.
    """
    return neighbours_votes(codes_train, y_train, codes_test, [(k, temperature)], metric, leave_one_out)[0]


def neighbours_votes(
    codes_train: Tensor,
    y_train: Tensor,
    codes_test: Tensor,
    settings: Sequence[tuple[int, float | None]],
    metric: str = "euclidean",
    leave_one_out: bool = False,
) -> list[Tensor]:
    """`neighbours_vote` for each k and temperature in `settings`, from one search. Arguments and errors as there."""
    _check_search(codes_train, y_train, codes_test, settings, metric)
    n_classes = int(y_train.max()) + 1
    voted: list[list[Tensor]] = [[] for _ in settings]
    for s, index in nearest(codes_train, codes_test, max(k for k, _ in settings), metric, leave_one_out):
        for found, (k, temperature) in zip(voted, settings, strict=True):
            found.append(_vote(s[:, :k], y_train[index[:, :k]], n_classes, temperature))
    return [torch.cat(found) for found in voted]


def neighbours_means(
    codes_train: Tensor,
    y_train: Tensor,
    codes_test: Tensor,
    settings: Sequence[tuple[int, float | None]],
    metric: str = "euclidean",
    leave_one_out: bool = False,
) -> list[Tensor]:
    """The mean of the nearest rows' numbers or labels for each k and temperature: numbers, or shares of labels.

    With a temperature a row weighs exp(s / temperature) for a cosine s; with None all weigh the same.

    Args:
        codes_train, codes_test, metric, leave_one_out: see `neighbours_vote`.
        y_train: [N] or [N, K], numbers or bool.
        settings: numbers of neighbours and temperatures.

    Returns:
        For each of them [M, K], with K = 1 for y_train [N].

    Raises:
        UserError, NoNumber: see `neighbours_vote`.
    """
    _check_search(codes_train, y_train, codes_test, settings, metric)
    y = y_train.float().reshape(len(y_train), -1)
    meant: list[list[Tensor]] = [[] for _ in settings]
    for s, index in nearest(codes_train, codes_test, max(k for k, _ in settings), metric, leave_one_out):
        for found, (k, temperature) in zip(meant, settings, strict=True):
            near = s[:, :k]
            weights = torch.ones_like(near) if temperature is None else (near / temperature).softmax(1)
            found.append(torch.einsum("mk,mkt->mt", weights / weights.sum(1, keepdim=True), y[index[:, :k]]))
    return [torch.cat(found) for found in meant]


def _check_search(
    codes_train: Tensor,
    y_train: Tensor,
    codes_test: Tensor,
    settings: Sequence[tuple[int, float | None]],
    metric: str,
) -> None:
    """Raises the errors of `neighbours_vote`."""
    for k, temperature in settings:
        at_least(1, k=k)
        if temperature is not None and not (metric == "cosine" and temperature > 0):
            raise UserError(f"temperature={temperature} must be positive and needs metric=cosine")
    if metric not in METRICS:
        raise UserError(choices(metric, METRICS, kind="metric"))
    if codes_train.dim() != 2 or codes_test.dim() != 2 or codes_train.shape[1] != codes_test.shape[1]:
        raise UserError(f"codes {list(codes_train.shape)} and {list(codes_test.shape)}: give [N, D] and [M, D]")
    if len(y_train) != len(codes_train) or not len(codes_train):
        raise UserError(f"there are {len(codes_train)} training codes and {len(y_train)} labels: give one for each")
    for name, codes in (("training", codes_train), ("test", codes_test)):
        if not all(rows.isfinite().all() for rows in codes.split(ROWS)):
            raise NoNumber(f"{name} codes have NaN or infinite values, so that nothing is their neighbour")


def _vote(s: Tensor, y: Tensor, n_classes: int, temperature: float | None) -> Tensor:
    """The classes [m] for which neighbours of similarities s and classes y [m, k], nearest first, vote."""
    if temperature is not None:
        weights = (s / temperature).exp()
    else:
        # sums to less than 1, so that it decides only ties
        k = s.shape[1]
        weights = 1 + torch.arange(k, 0, -1, device=s.device) / (k * (k + 1.0))
    votes = torch.zeros(len(s), n_classes, device=s.device)
    votes.scatter_add_(1, y, weights.expand_as(s))
    return votes.argmax(1)


def nearest(
    bank: Tensor, queries: Tensor, k: int, metric: str = "euclidean", leave_one_out: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """For blocks of queries, similarities and indices of the `k` nearest rows of the bank, both [m, k], nearest first.

    Similarities are cosines, or half of the squared query minus half of the squared distance. Arguments as above.
    """
    bank, queries = bank.float(), queries.float()
    if metric == "cosine":
        queries = F.normalize(queries, dim=1)
    else:
        # Distances do not depend on the origin, but float32 is more precise near it
        centre = bank.mean(0)
        queries = queries - centre
    k = min(k, len(bank) - 1 if leave_one_out and len(bank) > 1 else len(bank))
    at_once = max(1, NUMBERS_AT_ONCE // len(bank))
    for start in range(0, len(queries), at_once):
        some = queries[start : start + at_once]
        similarity = torch.empty(len(some), len(bank), device=bank.device)  # [m, N]
        for first in range(0, len(bank), ROWS):  # the whole bank is never copied
            rows = bank[first : first + ROWS]
            rows = F.normalize(rows, dim=1) if metric == "cosine" else rows - centre
            part = similarity[:, first : first + ROWS]
            torch.mm(some, rows.T, out=part)
            if metric == "euclidean":
                part -= rows.square().sum(1) / 2  # |q|^2 / 2 - |q - b|^2 / 2
        if leave_one_out:
            own = torch.arange(start, min(start + len(similarity), len(bank)), device=bank.device)
            similarity[own - start, own] = -math.inf
        yield similarity.topk(k)


def check_classes(y: Tensor) -> None:
    """Raises NoNumber if `y` [N] has one class."""
    if len(y) and (y == y[0]).all():
        raise NoNumber(f"all {len(y)} labels are {int(y[0])}: one class is always predicted right, so give two or more")


def check_codes(codes: Tensor) -> None:
    """Raises NoNumber if all codes [N, D] are equal."""
    if len(codes) and all((rows == codes[0]).all() for rows in codes.split(ROWS)):
        raise NoNumber(f"all {len(codes)} codes are equal: the encoder has collapsed, and says nothing about the input")
