"""Calibration against torchmetrics, scikit-learn and scipy, and on probabilities of known calibration."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from frame.common.errors import NoNumber, TooFew, UserError
from frame.measures.calibration import (
    LIMITS,
    at_temperature,
    brier_scores,
    fitted_temperature,
    negative_log_likelihoods,
    reliability,
)


def drawn(n: int = 2000, sharper: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels drawn from probabilities that are then made `sharper`; calibrated at 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(n, 5, generator=generator)
    y = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return (sharper * logits).log_softmax(1), y


@pytest.mark.parametrize("n_bins", [10, 15])
@pytest.mark.parametrize("sharper", [0.3, 1.0, 3.0])
def test_it_agrees_with_torchmetrics(n_bins: int, sharper: float) -> None:
    log_p, y = drawn(sharper=sharper)
    theirs = multiclass_calibration_error(log_p.exp(), y, 5, n_bins=n_bins, norm="l1")
    assert reliability(log_p, y, n_bins).error == pytest.approx(float(theirs), abs=1e-6)


def test_bins_of_equally_many_rows_agree_with_a_slow_loop() -> None:
    log_p, y = drawn(sharper=2.0)
    p = log_p.double().exp().numpy()
    order = np.argsort(p.max(1), kind="stable")
    slow = 0.0
    for part in np.array_split(order, 7):
        gap = abs((p[part].argmax(1) == y.numpy()[part]).mean() - p[part].max(1).mean())
        slow += len(part) / len(y) * gap
    found = reliability(log_p, y, 7, equal_mass=True)
    assert found.error == pytest.approx(slow, abs=1e-6)
    assert int(found.n.max() - found.n.min()) <= 1


def test_known_calibration() -> None:
    calibrated = reliability(*drawn(100_000)).error
    assert calibrated < 0.01 < reliability(*drawn(100_000, sharper=3.0)).error
    confident = torch.tensor([[0.9, 0.1]]).log().expand(20, 2)
    y = torch.tensor([0] * 12 + [1] * 8)
    assert reliability(confident, y, 5).error == pytest.approx(0.3, abs=1e-6)
    sure = torch.tensor([[0.0, -math.inf]]).expand(20, 2)
    assert reliability(sure, y).error == pytest.approx(0.4) and len(reliability(sure, y).n) == 1


def test_likelihood_and_brier_score() -> None:
    log_p, y = drawn()
    theirs = log_loss(y.numpy(), log_p.double().softmax(1).numpy())
    assert float(negative_log_likelihoods(log_p, y).mean()) == pytest.approx(theirs, abs=1e-6)
    p = np.exp(log_p.double().numpy())
    slow = [sum((p[i, k] - (k == int(y[i]))) ** 2 for k in range(5)) for i in range(50)]
    np.testing.assert_allclose(brier_scores(log_p, y)[:50].numpy(), slow, atol=1e-6)
    wrong = torch.tensor([[-math.inf, 0.0]])
    assert brier_scores(wrong, torch.tensor([0])).item() == 2


def test_the_temperature_is_the_most_likely_one() -> None:
    log_p, y = drawn(20_000, sharper=3.0)
    found = fitted_temperature(log_p, y)

    def nll(t: float) -> float:
        return float(negative_log_likelihoods(at_temperature(log_p, t), y).mean())

    assert found == pytest.approx(minimize_scalar(nll, (0.5, 5.0), options={"xtol": 1e-9}).x, rel=1e-4)
    assert found == pytest.approx(3, rel=0.05)
    after = at_temperature(log_p, found)
    assert reliability(after, y).error < 0.02 < reliability(log_p, y).error
    assert (after.argmax(1) == log_p.argmax(1)).all()
    always = torch.tensor([[0.7, 0.3]]).log()
    assert fitted_temperature(always, torch.tensor([0])) == pytest.approx(LIMITS[0])
    assert fitted_temperature(always, torch.tensor([1])) == pytest.approx(LIMITS[1])


def test_errors_give_the_reason() -> None:
    log_p, y = drawn(20)
    broken = log_p.clone()
    broken[1] = math.nan
    for measure in (reliability, negative_log_likelihoods, brier_scores, fitted_temperature):
        for kind, p, labels, words in (
            (NoNumber, broken, y, "NaN"),
            (NoNumber, log_p + 1, y, "do not sum to 1"),
            (TooFew, log_p[:0], y[:0], "no rows"),
            (UserError, log_p, y - 1, "classes 0 to 4"),
            (UserError, log_p, y + 1, "classes 0 to 4"),
            (UserError, log_p, y[:3], "give .N, K. and .N."),
        ):
            with pytest.raises(kind, match=words):
                measure(p, labels)
    with pytest.raises(TooFew, match="20 rows are too few for 50 bins"):
        reliability(log_p, y, 50)
    with pytest.raises(NoNumber, match="1 labels have probability 0"):
        negative_log_likelihoods(torch.tensor([[0.0, -math.inf]]), torch.tensor([1]))
    with pytest.raises(UserError, match="positive"):
        at_temperature(log_p, 0.0)
