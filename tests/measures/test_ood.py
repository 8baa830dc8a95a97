"""Scores inside and outside: against scikit-learn, on known cases, and on invalid rows."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from frame.common.errors import NoNumber, TooFew, UserError
from frame.measures.ood import auroc, fpr_at_tpr, knn_scores


@pytest.mark.parametrize("ties", [False, True])
def test_it_agrees_with_scikit_learn(ties: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    inside, outside = (
        torch.randn(300, generator=generator) + 1,
        torch.randn(170, generator=generator),
    )
    if ties:
        inside, outside = inside.round(), outside.round()
    y, scores = np.r_[np.ones(300), np.zeros(170)], torch.cat([inside, outside]).numpy()
    assert auroc(inside, outside)[0] == pytest.approx(roc_auc_score(y, scores), abs=1e-6)
    fpr, tpr, _ = roc_curve(y, scores, drop_intermediate=False)
    assert fpr_at_tpr(inside, outside)[0] == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-6)


def test_known_answers() -> None:
    low, high = torch.arange(100.0), torch.arange(100.0) + 100
    assert auroc(high, low) == (1.0, 0.0) and fpr_at_tpr(high, low) == (0.0, 0.0)
    assert auroc(low, high)[0] == 0.0 and fpr_at_tpr(low, high)[0] == 1.0
    assert auroc(low, low)[0] == pytest.approx(0.5, abs=1e-6) and fpr_at_tpr(low, low)[0] == 0.95
    assert fpr_at_tpr(low, low, 1.0)[0] == 1.0
    # far beyond 1, where a sigmoid saturates
    assert auroc(low * 1e4 - 1e6, low * 1e4 - 1.01e6)[0] == pytest.approx(auroc(low, low - 1)[0], abs=1e-6)
    # d' = 1 has Phi(1 / sqrt(2)), and samples vary by the standard error
    generator = torch.Generator().manual_seed(0)
    draws = [auroc(torch.randn(100, generator=generator) + 1, torch.randn(80, generator=generator)) for _ in range(200)]
    areas, errors = torch.tensor(draws).double().T
    assert areas.mean().item() == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=0.01)
    assert errors.mean().item() == pytest.approx(areas.std().item(), rel=0.2)


def test_the_distance_of_the_kth_neighbour_is_that_of_a_slow_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    bank, codes = torch.randn(40, 5, generator=generator), torch.randn(7, 5, generator=generator)
    a, b = (c.double().numpy() / np.linalg.norm(c.double().numpy(), axis=1, keepdims=True) for c in (bank, codes))
    slow = [-np.sort(np.linalg.norm(a - row, axis=1))[2] for row in b]
    np.testing.assert_allclose(knn_scores(bank, codes, 3).numpy(), slow, atol=1e-6)
    assert torch.equal(knn_scores(bank, codes, 99), knn_scores(bank, codes, 40))


def test_errors_give_the_reason() -> None:
    some, none = torch.arange(5.0), torch.empty(0)
    broken = torch.tensor([1.0, math.nan])
    for measure in (auroc, fpr_at_tpr):
        for inside, outside, kind, words in (
            (broken, some, NoNumber, "NaN"),
            (some, broken, NoNumber, "NaN"),
            (torch.ones(3), torch.ones(2), NoNumber, "all scores are equal"),
            (some, none, TooFew, "5 rows inside and 0 outside"),
            (some.view(1, 5), some, UserError, "give .N. and .M."),
        ):
            with pytest.raises(kind, match=words):
                measure(inside, outside)
    with pytest.raises(UserError, match="tpr=0"):
        fpr_at_tpr(some, some, 0)
    with pytest.raises(NoNumber, match="NaN or infinite"):
        knn_scores(broken.view(1, 2), torch.ones(3, 2))
    with pytest.raises(TooFew, match="no training codes"):
        knn_scores(torch.empty(0, 2), torch.ones(3, 2))
