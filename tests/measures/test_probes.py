"""The probe with few labels."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from frame.common.errors import NoNumber, TooFew, UserError
from frame.measures.probes import few_label_probe

GENERATOR = torch.Generator().manual_seed(0)
Y, Y_TEST = torch.arange(400) % 10, torch.arange(200) % 10


def coded(y: torch.Tensor, noise: float = 0.0) -> torch.Tensor:
    codes = torch.nn.functional.one_hot(y, 10).float()
    return codes + noise * torch.randn(codes.shape, generator=torch.Generator().manual_seed(int(y.sum())))


def test_perfect_codes_need_one_label_per_class() -> None:
    found = few_label_probe(coded(Y), Y, coded(Y_TEST), Y_TEST, n_draws=3)
    assert found.tolist() == [1.0, 1.0, 1.0]
    # neither scale nor shift of the codes matters
    found = few_label_probe(1000 * coded(Y) - 5, Y, 1000 * coded(Y_TEST) - 5, Y_TEST, n_draws=2)
    assert found.tolist() == [1.0, 1.0]


def test_random_codes_are_at_chance() -> None:
    codes, test_codes = torch.randn(400, 16, generator=GENERATOR), torch.randn(200, 16, generator=GENERATOR)
    found = few_label_probe(codes, Y, test_codes, Y_TEST)
    assert len(found) == 20 and found.mean().item() == pytest.approx(0.1, abs=0.03)


def test_more_labels_help_and_the_seed_determines_the_draws() -> None:
    train, test = coded(Y, 0.6), coded(Y_TEST, 0.6)
    few, many = (few_label_probe(train, Y, test, Y_TEST, n, n_draws=5) for n in (1, 20))
    assert many.mean() > few.mean() + 0.1
    assert torch.equal(few, few_label_probe(train, Y, test, Y_TEST, 1, n_draws=5))
    assert not torch.equal(few, few_label_probe(train, Y, test, Y_TEST, 1, n_draws=5, seed=1))
    assert len(few.unique()) > 1  # draws take different rows


def test_labelled_rows_have_every_class_and_codes_are_scaled_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fit = LogisticRegression.fit

    def keep(self: LogisticRegression, x: np.ndarray, y: np.ndarray) -> LogisticRegression:
        seen.append((x, y, self.C, self.tol, self.solver))
        fitted: LogisticRegression = fit(self, x, y)
        return fitted

    monkeypatch.setattr(LogisticRegression, "fit", keep)
    few_label_probe(coded(Y, 0.3), Y, coded(Y_TEST, 0.3), Y_TEST, labels_per_class=3, n_draws=2)
    for x, y, *protocol in seen:
        assert np.bincount(y).tolist() == [3] * 10
        np.testing.assert_allclose([x.min(0), x.max(0)], [[0] * 10, [1] * 10], atol=1e-12)
        assert len(np.unique(x, axis=0)) == 30 and protocol == [10.0, 0.1, "saga"]


def test_errors_give_the_reason() -> None:
    y = torch.tensor([3, 3, 3, 7])
    assert few_label_probe(coded(y), y, coded(y), y, labels_per_class=1, n_draws=1).tolist() == [1.0]
    broken = coded(Y)
    broken[7, 2] = float("nan")
    for kind, train, labels, test, test_labels, n, words in (
        (TooFew, coded(y), y, coded(y), y, 2, "smallest class has 1 rows.* 2 labels of each"),
        (TooFew, coded(y), y, coded(y)[:0], y[:0], 1, "there are 0 test rows"),
        (TooFew, coded(y)[:0], y[:0], coded(y), y, 1, "smallest class has 0 rows"),
        (NoNumber, broken, Y, coded(Y), Y, 1, "training codes have NaN"),
        (NoNumber, coded(Y), Y, broken, Y, 1, "judged codes have NaN"),
        (NoNumber, torch.ones(400, 3), Y, torch.ones(200, 3), Y_TEST, 1, "all 400 codes are equal"),
        (NoNumber, coded(Y), torch.full_like(Y, 3), coded(Y), Y, 1, "one class"),
    ):
        with pytest.raises(kind, match=words):
            few_label_probe(train, labels, test, test_labels, n)


def test_errors_are_named() -> None:
    for wrong in ({"labels_per_class": 0}, {"n_draws": 0}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))}=0"):
            few_label_probe(coded(Y), Y, coded(Y_TEST), Y_TEST, **wrong)
