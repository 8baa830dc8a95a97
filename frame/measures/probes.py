"""How well simple classifiers of codes predict labels."""

import warnings

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, at_least
from frame.measures.neighbours import check_classes, check_codes


def few_label_probe(
    codes: Tensor,
    y: Tensor,
    test_codes: Tensor,
    test_y: Tensor,
    labels_per_class: int = 1,
    n_draws: int = 20,
    seed: int = 0,
) -> Tensor:
    """Accuracy of a linear classifier that saw `labels_per_class` labels of each class: [n_draws], in [0, 1].

    Each draw takes other rows, with the same number of each class. Codes are scaled to [0, 1] on the labelled rows, and
    a multinomial logistic regression is fitted by saga with C = 10 and a tolerance of 0.1: the protocol of Federici et
    al. 2020 (2002.07017) and their code.

    Args:
        codes, y: rows from which the labelled ones are drawn, [N, D] and [N].
        test_codes, test_y: rows on which accuracy is measured, [M, D] and [M].
        labels_per_class: labelled rows of each class.
        n_draws: number of draws.
        seed: seed of the draws.

    Raises:
        UserError: a number is below 1.
        NoNumber: codes are not finite or all equal, there is one class, or a class has fewer rows than asked for.
    """
    from sklearn.exceptions import ConvergenceWarning  # imported here because it takes a second
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import MinMaxScaler

    at_least(1, labels_per_class=labels_per_class, n_draws=n_draws)
    for name, given in (("training", codes), ("judged", test_codes)):
        if not given.isfinite().all():
            raise NoNumber(f"{name} codes have NaN or infinite values: the model has diverged")
    check_classes(y)
    check_codes(codes)
    counts = y.bincount()
    fewest = int(counts[counts > 0].min()) if len(y) else 0
    if fewest < labels_per_class or not len(test_y):
        raise TooFew(
            f"the smallest class has {fewest} rows, and there are {len(test_y)} test rows: "
            f"the probe needs {labels_per_class} labels of each class and at least one test row"
        )
    x, x_test = (c.double().cpu().numpy() for c in (codes, test_codes))
    labels, labels_test = y.cpu().numpy(), test_y.cpu().numpy()
    rows_of = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    found = []
    for draw in range(n_draws):
        random = np.random.RandomState([seed, draw])
        rows = np.concatenate([random.permutation(rows)[:labels_per_class] for rows in rows_of])
        scaler = MinMaxScaler().fit(x[rows])
        probe = LogisticRegression(solver="saga", C=10.0, tol=0.1, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 100 passes are close enough
            probe.fit(scaler.transform(x[rows]), labels[rows])
        predicted = probe.predict(scaler.transform(x_test))
        found.append((predicted == labels_test).mean())
    return torch.tensor(found, dtype=torch.float64)
