"""Linear probes against scikit-learn, against a loop written from the paper, and on invalid rows."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import confusion_matrix
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError
from frame.data.base import whole_batch
from frame.data.digits import Digits
from frame.measures.linear_probe import (
    best,
    confusion,
    linear_probes,
    logistic_regression,
    ridge_regression,
    sgd_probes,
)


def digits(split: str) -> tuple[Tensor, Tensor]:
    source = Digits().split(split)
    batch = whole_batch(source, torch.arange(len(source)))
    return batch["x"].flatten(1), batch["y"]


def blobs(n: int = 200, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(n) % 3
    centres = torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0], [0, 2, 0, 0]])
    return centres[y] + noise * torch.randn(n, 4, generator=generator), y


@pytest.mark.parametrize("c", [1e-3, 1e-1, 1.0])
def test_it_agrees_with_scikit_learn(c: float) -> None:
    (x, y), (x_test, y_test) = digits("train"), digits("test")
    (probe,), (exact,) = logistic_regression(x, y, [c]), logistic_regression(x, y, [c], tolerance=1e-6)
    scaler = StandardScaler().fit(x.numpy())
    other = LogisticRegression(C=c, max_iter=2000, tol=1e-6).fit(scaler.transform(x.numpy()), y.numpy())
    theirs = other.predict_proba(scaler.transform(x_test.numpy()))
    assert np.abs(exact(x_test).exp().numpy() - theirs).max() < 0.01
    right = float((theirs.argmax(1) == y_test.numpy()).mean())
    assert probe.accuracy(x_test, y_test) == pytest.approx(right, abs=0.01) and right > 0.9


def test_codes_that_depend_on_each_other_take_few_steps() -> None:
    """Each column is a sum of the others but for noise of 1e-3, as features of one map are."""
    generator = torch.Generator().manual_seed(0)
    shared, apart = torch.randn(2, 500, 8, generator=generator)
    codes = shared.mean(1, keepdim=True) + 1e-3 * apart
    y = (apart[:, :3] + torch.randn(500, 3, generator=generator)).argmax(1)
    (few,), (exact,) = (logistic_regression(codes, y, [1e3], n, 1e-6) for n in (15, 3000))
    assert few.accuracy(codes, y) > 0.6
    torch.testing.assert_close(few(codes), exact(codes), atol=0.01, rtol=0)


def test_each_regularisation_has_its_own_probe_in_the_order_given() -> None:
    codes, y = blobs()
    together = logistic_regression(codes, y, [1.0, 1e-3])
    for c, probe in zip([1.0, 1e-3], together, strict=True):
        (alone,) = logistic_regression(codes, y, [c], tolerance=1e-6)
        torch.testing.assert_close(probe(codes), alone(codes), atol=5e-3, rtol=0)
    assert together[0].weight.norm() > 2 * together[1].weight.norm()


def test_units_and_constant_dimensions_change_nothing() -> None:
    codes, y = blobs()
    (probe,) = logistic_regression(codes, y, [0.1])
    other = torch.cat([codes * torch.tensor([1e3, 1e-3, 1, 1]) + 7, torch.full((len(codes), 2), 5.0)], 1)
    (same,) = logistic_regression(other, y, [0.1])
    torch.testing.assert_close(same(other), probe(codes), atol=1e-3, rtol=0)


def test_sgd_does_what_a_slow_loop_does() -> None:
    codes, y = blobs(50)
    (probe,) = sgd_probes(codes, y, [0.3], n_epochs=3, batch_size=16)
    z = (codes - codes.mean(0)) / codes.std(0, correction=0)
    layer = torch.nn.Linear(4, 3)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 * (1 + math.cos(math.pi * t / 12)))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for rows in torch.randperm(50, generator=generator).split(16):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(z[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    torch.testing.assert_close(probe(codes), layer(z).log_softmax(1).detach(), atol=1e-5, rtol=0)


def test_rates_do_not_influence_one_another() -> None:
    codes, y = blobs(60)
    together = sgd_probes(codes, y, [0.01, 0.3], n_epochs=2)
    for lr, probe in zip([0.01, 0.3], together, strict=True):
        (alone,) = sgd_probes(codes, y, [lr], n_epochs=2)
        torch.testing.assert_close(probe.weight, alone.weight)
        torch.testing.assert_close(probe.bias, alone.bias)


def test_the_best_is_chosen_on_other_rows() -> None:
    codes, y = blobs()
    (good,) = logistic_regression(codes, y, [1.0])
    (bad,) = logistic_regression(codes, (y + 1) % 3, [1.0])
    chosen, accuracies = best([bad, good, good], codes, y)
    assert chosen == 1 and accuracies[1] == accuracies[2] > 0.7 > accuracies[0]


def test_the_confusion_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, y = torch.randint(0, 4, (2, 100), generator=generator)
    np.testing.assert_array_equal(confusion(predicted, y, 4).numpy(), confusion_matrix(y, predicted, labels=range(4)))


@pytest.mark.parametrize("train", [logistic_regression, sgd_probes])
def test_errors_give_the_reason(train: Any) -> None:
    codes, y = blobs()
    broken = codes.clone()
    broken[3, 1] = math.nan
    for kind, wrong, labels, words in (
        (NoNumber, broken, y, "training codes have NaN"),
        (NoNumber, torch.ones(9, 2), torch.arange(9) % 3, "all 9 codes are equal"),
        (NoNumber, codes, torch.zeros_like(y), "one class"),
        (TooFew, codes[:4], torch.arange(4) % 3, "4 labelled rows of 3 classes"),
        (TooFew, codes[:0], y[:0], "0 labelled rows"),
        (UserError, codes, y - 1, "leave out rows with -1"),
        (UserError, codes, y[:5], "give .N, D. and .N."),
        (UserError, codes, y.float(), "give integers"),
    ):
        with pytest.raises(kind, match=words):
            train(wrong, labels)
    with pytest.raises(UserError, match="positive"):
        train(codes, y, [0.0])
    (probe,) = train(codes, y, [0.1])
    with pytest.raises(NoNumber, match="judged codes have NaN"):
        probe.accuracy(broken, y)
    with pytest.raises(NoNumber, match="class 5 is tested"):
        probe.accuracy(codes[:1], torch.tensor([5]))
    with pytest.raises(TooFew, match="no rows"):
        probe.accuracy(codes[:0], y[:0])


@pytest.mark.parametrize(("n", "k"), [(100, 1), (100, 2), (6, 1)])
def test_ridges_are_scikit_learns(n: int, k: int) -> None:
    generator = torch.Generator().manual_seed(n)
    codes = 3 + torch.randn(n, 8, generator=generator) * torch.arange(1, 9)
    y = 50 + codes[:, :k] + torch.randn(n, k, generator=generator)
    scaled = StandardScaler().fit_transform(codes.numpy())
    for c, probe in zip([0.01, 10.0], ridge_regression(codes, y if k > 1 else y[:, 0], [0.01, 10.0]), strict=True):
        theirs = Ridge(alpha=1 / c).fit(scaled, y.numpy()).predict(scaled)
        np.testing.assert_allclose(probe(codes).numpy(), theirs.reshape(n, k), rtol=1e-4)


def test_several_labels_are_a_regression_each_and_constant_ones_stay_so() -> None:
    codes, classes = blobs(noise=1.5)
    y = torch.stack([classes == 0, torch.ones_like(classes).bool(), classes > 0, classes < 0], 1)
    (probe,) = logistic_regression(codes, y, [0.1], tolerance=1e-6)
    scaled = StandardScaler().fit_transform(codes.numpy())
    for label in (0, 2):
        theirs = LogisticRegression(C=0.1, tol=1e-6).fit(scaled, y[:, label].numpy()).predict_proba(scaled)[:, 1]
        np.testing.assert_allclose(probe(codes).exp()[:, label].numpy(), theirs, atol=2e-3)
    assert (probe.predicted(codes)[:, 1] > 0.999).all() and (probe.predicted(codes)[:, 3] < 0.001).all()
    assert best(linear_probes(codes, y, [1e-4, 0.1]), codes, y)[0] == 1


def test_errors_of_numbers_give_the_reason() -> None:
    codes, _ = blobs(20)
    for kind, wrong, y, words in (
        (NoNumber, codes, torch.ones(20), "same number"),
        (NoNumber, codes, torch.full((20,), math.nan), "NaN or infinite in 20 of 20 rows"),
        (NoNumber, torch.ones(20, 2), torch.arange(20.0), "all 20 codes are equal"),
        (TooFew, codes[:1], torch.ones(1), "1 rows with numbers"),
        (UserError, codes, torch.ones(5), "give .N, D., and"),
    ):
        with pytest.raises(kind, match=words):
            linear_probes(wrong, y)
