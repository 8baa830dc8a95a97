"""Nearest neighbours against a slow loop, and principal components against numpy's."""

import math
from collections import Counter
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.measures import neighbours
from frame.measures.neighbours import nearest_neighbour_accuracy, neighbours_means, neighbours_vote
from frame.measures.pca import PCA


def clouds(n: int, seed: int = 0, dim: int = 5) -> tuple[Tensor, Tensor]:
    """Three overlapping classes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=generator)
    return torch.randn(n, dim, generator=generator) + y.unsqueeze(1), y


def slow_vote(bank: Tensor, y: Tensor, query: Tensor, k: int, metric: str, temperature: float | None) -> int:
    """One query: sort, take k, count."""
    rows = []
    for code, label in zip(bank.double(), y.tolist(), strict=True):
        cosine = float(code @ query.double() / code.norm() / query.double().norm())
        distance = float((code - query).norm()) if metric == "euclidean" else -cosine
        rows.append((distance, label, 1.0 if temperature is None else math.exp(cosine / temperature)))
    votes: Counter[int] = Counter()
    for _, label, weight in sorted(rows)[:k]:
        votes[label] += weight  # type: ignore[assignment]
    best = max(votes.values())
    # ties: the class of the nearer neighbours, here never more than one each
    return next(label for _, label, _ in sorted(rows)[:k] if votes[label] == best)


@pytest.mark.parametrize("k, metric, temperature", [(1, "euclidean", None), (2, "cosine", None), (20, "cosine", 0.1)])
@pytest.mark.parametrize("numbers_at_once", [2**24, 150])  # all queries in one go, and one by one
def test_votes_equal_a_slow_loop(k: int, metric: str, temperature: float | None, numbers_at_once: int) -> None:
    bank, y = clouds(100)
    queries, _ = clouds(40, seed=1)
    with patch.object(neighbours, "NUMBERS_AT_ONCE", numbers_at_once):
        voted = neighbours_vote(bank, y, queries, k, metric, temperature)
    assert voted.tolist() == [slow_vote(bank, y, query, k, metric, temperature) for query in queries]


def test_accuracy_is_that_of_the_votes() -> None:
    bank, y = clouds(100)
    queries, labels = clouds(40, seed=1)
    p, error = nearest_neighbour_accuracy(bank, y, queries, labels, k=3)
    assert p == (neighbours_vote(bank, y, queries, 3) == labels).double().mean() and 0.4 < p < 1
    assert error == pytest.approx(math.sqrt(p * (1 - p) / 40))


def test_ties_go_to_the_nearer_class() -> None:
    bank, y = torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([2, 1, 1, 2])
    assert neighbours_vote(bank, y, torch.tensor([[0.0], [5.0]]), k=2).tolist() == [2, 2]
    assert neighbours_vote(bank, y, torch.tensor([[1.9]]), k=4).tolist() == [1]
    assert neighbours_vote(bank, y, torch.tensor([[0.0]]), k=3).tolist() == [1]  # two votes beat a nearer one


def test_with_leave_one_out_a_row_is_not_its_own_neighbour() -> None:
    bank, y = torch.tensor([[0.0], [1.0], [1.1], [5.0]]), torch.arange(4)
    assert neighbours_vote(bank, y, bank, leave_one_out=True).tolist() == [1, 2, 1, 2]
    assert neighbours_vote(bank, y, bank).tolist() == [0, 1, 2, 3]
    # for rows beyond the bank nothing is left out
    assert neighbours_vote(bank[:3], y[:3], bank, leave_one_out=True).tolist() == [1, 2, 1, 2]


def test_a_large_offset_does_not_hide_small_distances() -> None:
    """float32 squares at 10,000 are 8 apart, far more than these distances."""
    bank, y = clouds(100, dim=2)
    queries, _ = clouds(40, seed=1, dim=2)
    assert torch.equal(neighbours_vote(bank + 1e4, y, queries + 1e4), neighbours_vote(bank, y, queries))


def test_more_neighbours_than_rows_are_all_rows() -> None:
    bank, y = torch.tensor([[0.0], [1.0], [1.1]]), torch.tensor([0, 1, 1])
    assert neighbours_vote(bank, y, torch.tensor([[0.0]]), k=200).tolist() == [1]


def test_bad_input_is_named_in_one_line() -> None:
    bank, y = clouds(10)
    changes: dict[str, dict[str, Any]] = {
        "training codes have NaN": {"codes_train": bank * math.nan},
        "test codes have NaN or infinite": {"codes_test": bank / 0},
        "all 10 labels are 1: one class": {"y_train": torch.ones(10, dtype=torch.long)},
        "all 10 codes are equal: the encoder has collapsed": {"codes_train": torch.ones(10, 5)},
        "10 training codes and 9 labels": {"y_train": y[:9]},
        r"codes \[10, 5\] and \[10, 4\]": {"codes_test": bank[:, :4]},
        "k=0: it must be at least 1": {"k": 0},
        "no metric 'cosinus': did you mean 'cosine'": {"metric": "cosinus"},
        "temperature=0.1 .* needs metric=cosine": {"temperature": 0.1},
        "temperature=0 must be positive": {"temperature": 0, "metric": "cosine"},
    }
    for match, change in changes.items():
        given = {"codes_train": bank, "y_train": y, "codes_test": bank, "y_test": y, **change}
        with pytest.raises(UserError, match=match) as caught:
            nearest_neighbour_accuracy(**given)
        assert "\n" not in str(caught.value)


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 7) + 3
    found = PCA(x, 3)(x)
    centred = (x - x.mean(0)).double().numpy()
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    expected = torch.from_numpy(u[:, :3] * s[:3]).float()
    signs = (found * expected).sum(0).sign()
    torch.testing.assert_close(found * signs, expected, rtol=1e-3, atol=1e-3)


def test_principal_components_apply_to_other_rows_than_they_are_fitted_on() -> None:
    x = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    found = PCA(x, 1)(torch.tensor([[7.0, 4.0]]))
    assert found.abs().tolist() == [[2.0]]  # 4 - the mean 2, along the second axis


def test_no_more_components_than_numbers() -> None:
    assert PCA(torch.randn(10, 4), 7)(torch.randn(3, 4)).shape == (3, 4)
    with pytest.raises(UserError, match="n_components=0"):
        PCA(torch.randn(10, 4), 0)


@pytest.mark.parametrize("k", [1, 4])
def test_means_of_neighbours_are_scikit_learns(k: int) -> None:
    from sklearn.neighbors import KNeighborsRegressor

    generator = torch.Generator().manual_seed(k)
    bank, queries = torch.randn(50, 3, generator=generator), torch.randn(9, 3, generator=generator)
    y = torch.randn(50, 2, generator=generator)
    theirs = KNeighborsRegressor(k).fit(bank.numpy(), y.numpy()).predict(queries.numpy())
    (ours,) = neighbours_means(bank, y, queries, [(k, None)])
    torch.testing.assert_close(ours, torch.from_numpy(theirs))
    (weighted,) = neighbours_means(bank, y[:, 0], queries, [(k, 0.1)], "cosine")
    s = torch.nn.functional.normalize(queries, dim=1) @ torch.nn.functional.normalize(bank, dim=1).T
    for row, near in enumerate(s.argsort(1, descending=True)[:, :k]):
        weights = (s[row, near] / 0.1).exp()
        torch.testing.assert_close(weighted[row, 0], (weights * y[near, 0]).sum() / weights.sum())
    (own,) = neighbours_means(bank, y > 0, bank, [(1, None)], leave_one_out=True)
    assert own.shape == (50, 2) and not torch.equal(own.bool(), y > 0)
