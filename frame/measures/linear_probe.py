"""How well a linear model predicts classes, several labels a row, or numbers from frozen codes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError, at_least
from frame.measures.neighbours import check_classes, check_codes
from frame.measures.scores import check_targets, goodness, kind_of

CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
CONSTANT = 30.0  # logit of a label that all training rows have
CURVATURE = 0.1  # of the cross-entropy in a logit, p (1 - p), for 10 classes that are all as probable
MOST_TURNED = 2048  # dimensions of codes whose principal components are worth their cost
ROWS = 4096  # rows that are multiplied at a time in float64
LRS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class LinearProbe:
    """W' (z - mean) / scale + b: logits of classes, logits of labels, or numbers.

    The mean and the scale are those of the codes that it was trained on.
    """

    weight: Tensor  # W [D, K]
    bias: Tensor  # b [K]
    mean: Tensor  # [D]
    scale: Tensor  # [D]
    kind: str = "classes"  # of targets, see `kind_of`

    def __call__(self, codes: Tensor) -> Tensor:
        """Log-probabilities of the K classes, or of each label, or numbers, [N, K].

        Raises:
            NoNumber: codes that are NaN or infinite.
        """
        z = _finite(codes, "judged")
        found = torch.addmm(self.bias, (z - self.mean) / self.scale, self.weight)
        if self.kind == "numbers":
            return found
        return found.log_softmax(1) if self.kind == "classes" else torch.nn.functional.logsigmoid(found)

    def predicted(self, codes: Tensor) -> Tensor:
        """The most probable class [N]; the probability of each label, or numbers, [N, K]."""
        found = self(codes)
        return found.argmax(1) if self.kind == "classes" else found.exp() if self.kind == "labels" else found

    def accuracy(self, codes: Tensor, y: Tensor) -> float:
        """Share of the rows whose most probable class is `y` [N].

        Raises:
            NoNumber: there are no rows, codes are not finite, or a class did not occur in training.
        """
        return self.right(codes, y).double().mean().item()

    def right(self, codes: Tensor, y: Tensor) -> Tensor:
        """Whether the most probable class of each row is `y` [N]; raises the errors of `accuracy`."""
        self.check(y)
        return self.predicted(codes) == y

    def goodness(self, codes: Tensor, y: Tensor) -> float:
        """The accuracy, the macro-F1 of labels, or the R2 of numbers; raises the errors of `accuracy`."""
        self.check(y)
        return goodness(self.predicted(codes), y)

    def check(self, y: Tensor) -> None:
        """Raises NoNumber if targets cannot be judged: there are none, or a class did not occur in training."""
        if not len(y):
            raise TooFew("there are no rows on which the probe can be tested")
        if self.kind == "classes" and int(y.max()) >= len(self.bias):
            raise NoNumber(f"class {int(y.max())} is tested, but training had only classes up to {len(self.bias) - 1}")


def linear_probes(codes: Tensor, y: Tensor, cs: Sequence[float] = CS) -> list[LinearProbe]:
    """A logistic regression for classes [N], one for each label bool [N, K], or ridge regressions for numbers.

    Raises:
        UserError, NoNumber: see `logistic_regression`.
    """
    return ridge_regression(codes, y, cs) if kind_of(y) == "numbers" else logistic_regression(codes, y, cs)


def ridge_regression(codes: Tensor, y: Tensor, cs: Sequence[float] = CS) -> list[LinearProbe]:
    """A ridge regression for each regularisation, in the order of `cs`.

    Minimises C sum_i |y_i - yhat_i|^2 / 2 + |W|^2 / 2 on codes that are scaled to mean 0 and variance 1, as
    scikit-learn's `Ridge(alpha=1 / C)` after a `StandardScaler`; b is not regularised. It is solved in float64.

    Args:
        codes, y: [N, D], and numbers [N] or [N, K].
        cs: inverse strengths of the regularisation, positive.

    Raises:
        UserError: shapes do not fit, or a C is not positive.
        NoNumber: codes or numbers are not finite or all equal, or there are fewer than 2 rows.
    """
    _check_cs(cs)
    if codes.dim() != 2 or y.dim() not in (1, 2) or len(y) != len(codes):
        raise UserError(f"codes {list(codes.shape)} and numbers {list(y.shape)}: give [N, D], and [N] or [N, K]")
    if len(y) < 2:
        raise TooFew(f"{len(y)} rows with numbers are too few for a probe: give 2 or more")
    _finite(codes, "training")
    check_targets(y)
    check_codes(codes)
    x, mean, scale = _scaled(codes)
    target = y.double().reshape(len(y), -1)
    centre = target.mean(0)
    target = target - centre
    n, size = x.shape
    wide = size > n  # then W = X' (X X' + I / C)^-1 Y is quicker than W = (X' X + I / C)^-1 X' Y
    gram = _products(x.T, x.T) if wide else _products(x, x)
    right = target if wide else _products(x, target)
    found = []
    for c in cs:
        solved = torch.cholesky_solve(right, torch.linalg.cholesky(gram + torch.eye(len(gram)).double() / c))
        weight = x.double().T @ solved if wide else solved
        found.append(LinearProbe(weight.float(), centre.float(), mean, scale, "numbers"))
    return found


def logistic_regression(
    codes: Tensor, y: Tensor, cs: Sequence[float] = CS, max_iter: int = 300, tolerance: float = 3e-4
) -> list[LinearProbe]:
    """One multinomial logistic regression for each regularisation, in the order of `cs`; or one for each label.

    Minimises C sum_i -log p(y_i|z_i) + |W|^2 / 2 on codes that are scaled to mean 0 and variance 1, as scikit-learn's
    `LogisticRegression(C=C)` after a `StandardScaler`; b is not regularised. L-BFGS starts a larger C at the solution
    of the smaller one.

    Args:
        codes, y: [N, D], and classes 0, 1, ... [N], or labels bool [N, K]. A label that all training rows have, or
            none, is predicted so always.
        cs: inverse strengths of the regularisation, positive.
        max_iter: maximum number of steps for each of them.
        tolerance: it ends if no component of the mean loss's gradient is above this, along principal components that
            are scaled so that the loss bends by about 1.

    Raises:
        UserError: see `_checked`; or a C is not positive.
        NoNumber: see `_checked`.
    """
    _check_cs(cs)
    several = kind_of(y) == "labels"
    kept = torch.ones(0, dtype=torch.bool)
    if several:
        x, mean, scale, kept = *_labels_checked(codes, y), (y != y[0]).any(0)
        target = y[:, kept].T.to(x.dtype).contiguous()
    else:
        x, mean, scale, n_classes = _standardised(codes, y)
        target = torch.nn.functional.one_hot(y, n_classes).T.to(x.dtype).contiguous()  # [K, N]: faster than [N, K]
    (n, size), k = x.shape, len(target)
    directions, variances = _principal(x)
    b, w = torch.zeros(k), torch.zeros(k, size)  # W'
    found: dict[float, LinearProbe] = {}
    for c in sorted(set(cs)):
        decay = 1 / (c * n)
        # W' = U diag(s) V': the loss bends alike in all of U, and L-BFGS needs a fraction of the steps
        scales = (CURVATURE * variances + decay).rsqrt()  # s [D]

        def weights(flat: Tensor, scales: Tensor = scales) -> tuple[Tensor, Tensor]:
            along = flat[k:].view(k, size) * scales
            return flat[:k], along if directions is None else along @ directions.T

        def objective(flat: Tensor, decay: float = decay, scales: Tensor = scales) -> tuple[float, Tensor]:
            b, w = weights(flat, scales)
            logits = (w @ x.T).add_(b.unsqueeze(1))
            if several:
                loss = (
                    torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum").double() / n
                )
                p = logits.sigmoid_()
            else:
                log_p = logits.log_softmax(0)  # [K, N]
                loss = -log_p.gather(0, y.unsqueeze(0)).double().mean()
                p = log_p.exp_()
            residual = p.sub_(target).div_(n)
            total = loss + decay / 2 * w.double().square().sum()
            slope = (residual @ x).add_(w, alpha=decay)  # [K, D]
            along = slope if directions is None else slope @ directions
            return total.item(), torch.cat([residual.sum(1), (along * scales).flatten()])

        along = w if directions is None else w @ directions
        start = torch.cat([b, (along / scales).flatten()])
        b, w = weights(_minimised(objective, start, max_iter, tolerance))
        weight, bias = w.T.contiguous(), b
        if several:
            weight, bias = _with_constant(weight, bias, kept, y[0])
        found[c] = LinearProbe(weight, bias, mean, scale, "labels" if several else "classes")
    return [found[c] for c in cs]


def _principal(x: Tensor) -> tuple[Tensor | None, Tensor]:
    """Principal directions V [D, D] of standardised codes [N, D], and their variances [D].

    None stands for the axes themselves, with variances of 1, if there are more dimensions than rows or MOST_TURNED.
    """
    n, size = x.shape
    if size > min(n, MOST_TURNED):
        return None, torch.ones(size)
    variances, directions = torch.linalg.eigh((x.T @ x / n).double())
    return directions.float(), variances.clamp(min=0).float()


def _labels_checked(codes: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of mean 0 and variance 1, and the mean and scale that were removed, of rows that have labels [N, K]."""
    if codes.dim() != 2 or len(y) != len(codes):
        raise UserError(f"codes {list(codes.shape)} and labels {list(y.shape)}: give [N, D] and [N, K]")
    if len(y) < 2:
        raise TooFew(f"{len(y)} labelled rows are too few for a probe: give 2 or more")
    _finite(codes, "training")
    check_targets(y)
    check_codes(codes)
    return _scaled(codes)


def _with_constant(weight: Tensor, bias: Tensor, kept: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """W [D, K] and b [K] of all labels, of which those that are not `kept` [K] are always as in the first row [K]."""
    every = torch.zeros(len(weight), len(kept)), torch.where(first, CONSTANT, -CONSTANT)
    every[0][:, kept], every[1][kept] = weight, bias
    return every


def sgd_probes(
    codes: Tensor,
    y: Tensor,
    lrs: Sequence[float] = LRS,
    n_epochs: int = 100,
    batch_size: int = 256,
    momentum: float = 0.9,
    seed: int = 0,
) -> list[LinearProbe]:
    """One linear classifier for each learning rate, in the order of `lrs`, trained as self-supervised papers do.

    SGD with momentum and without weight decay minimises the cross-entropy, and the rate falls to 0 along a half cosine.
    A normalisation without parameters comes first: Goyal et al. 2019 (1905.01235), He et al. 2021 (2111.06377, A.1).
    Codes are normalised over all training rows and pictures are not augmented, so that each is encoded once. All rates
    see the same batches.

    Args:
        codes, y: [N, D], and classes 0, 1, ... [N].
        lrs: initial learning rates, positive.
        n_epochs: passes over the rows, each in another order.
        batch_size: rows per step.
        momentum: momentum of SGD.
        seed: seed of the orders.

    Raises:
        UserError: see `_checked`; or a number is out of range.
        NoNumber: see `_checked`.
    """
    at_least(1, n_epochs=n_epochs, batch_size=batch_size)
    if not lrs or not min(lrs) > 0 or not 0 <= momentum < 1:
        raise UserError(f"lrs={list(lrs)}, momentum={momentum}: rates are positive, the momentum lies in [0, 1)")
    x, mean, scale, n_classes = _standardised(codes, y)
    n, size = x.shape
    rate = torch.tensor(lrs).repeat_interleave(n_classes)  # columns: the classes of one rate after those of another
    target = torch.nn.functional.one_hot(y, n_classes).to(x.dtype)
    weight, bias = torch.zeros(size, len(rate)), torch.zeros(len(rate))
    velocity, bias_velocity = torch.zeros_like(weight), torch.zeros_like(bias)
    generator = torch.Generator().manual_seed(seed)
    n_steps, step = n_epochs * -(-n // batch_size), 0
    for _ in range(n_epochs):
        for rows in torch.randperm(n, generator=generator).split(batch_size):
            z = x[rows]
            p = torch.addmm(bias, z, weight).view(len(rows), len(lrs), n_classes).softmax(2)
            residual = (p - target[rows].unsqueeze(1)).div_(len(rows)).flatten(1)
            velocity.mul_(momentum).addmm_(z.T, residual)
            bias_velocity.mul_(momentum).add_(residual.sum(0))
            now = rate * (0.5 * (1 + math.cos(math.pi * step / n_steps)))
            weight -= now * velocity
            bias -= now * bias_velocity
            step += 1
    columns = zip(weight.split(n_classes, 1), bias.split(n_classes), strict=True)
    return [LinearProbe(w.contiguous(), b, mean, scale) for w, b in columns]


def best(probes: Sequence[LinearProbe], codes: Tensor, y: Tensor) -> tuple[int, list[float]]:
    """The index of the best probe on held-out rows by `goodness` (the first of equal ones), and all values."""
    found = [probe.goodness(codes, y) for probe in probes]
    return found.index(max(found)), found


def confusion(predicted: Tensor, y: Tensor, n_classes: int) -> Tensor:
    """Counts of rows of class i that were classified as class j, [n_classes, n_classes]."""
    return torch.bincount(y * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)


def _standardised(codes: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Codes of mean 0 and variance 1, the mean and scale that were removed, and the number of classes."""
    _checked(codes, y)
    return *_scaled(codes), int(y.max()) + 1


def _scaled(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of mean 0 and variance 1, and the mean and scale that were removed."""
    codes = codes.float()
    variance, mean = torch.var_mean(codes, 0, correction=0)
    scale = variance.sqrt()
    scale = torch.where(scale > 1e-6 * mean.abs(), scale, 1.0)  # a constant column stays constant
    return (codes - mean).div_(scale), mean, scale


def _products(x: Tensor, y: Tensor) -> Tensor:
    """x' y [D, K] of [N, D] and [N, K], in float64, of some rows after others so that no copy of all is made."""
    found = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
    for some, others in zip(x.split(ROWS), y.split(ROWS), strict=True):
        found += some.double().T @ others.double()
    return found


def _check_cs(cs: Sequence[float]) -> None:
    if not cs or not min(cs) > 0:
        raise UserError(f"cs={list(cs)}: give one regularisation or more, all positive")


def _checked(codes: Tensor, y: Tensor) -> None:
    """Refuses rows that would give a misleading probe.

    Raises:
        UserError: shapes do not fit, or a label is not a class.
        NoNumber: codes are not finite or all equal, there is one class, or fewer than 2 rows for each class.
    """
    if codes.dim() != 2 or y.shape != codes.shape[:1]:
        raise UserError(f"codes {list(codes.shape)} and labels {list(y.shape)}: give [N, D] and [N]")
    if y.is_floating_point() or (len(y) and int(y.min()) < 0):
        raise UserError("labels must be classes 0, 1, ...: give integers, and leave out rows with -1")
    _finite(codes, "training")
    check_classes(y)
    check_codes(codes)
    n_classes = len(y.unique())
    if len(y) < 2 * n_classes or n_classes < 2:
        raise TooFew(f"{len(y)} labelled rows of {n_classes} classes are too few for a probe: give 2 of each or more")


def _finite(codes: Tensor, name: str) -> Tensor:
    codes = codes.float()
    if not codes.isfinite().all():
        raise NoNumber(f"{name} codes have NaN or infinite values: the model has diverged")
    return codes


def _minimised(
    objective: Callable[[Tensor], tuple[float, Tensor]], start: Tensor, max_iter: int, tolerance: float
) -> Tensor:
    """The minimum [n] that L-BFGS finds from `start` [n]; `objective` gives the value and its gradient [n]."""
    point = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.LBFGS(
        [point],
        max_iter=max_iter,
        tolerance_grad=tolerance,
        tolerance_change=1e-9,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def closure() -> float:
        value, point.grad = objective(point.detach())
        return value

    optimizer.step(closure)
    return point.detach()
