"""How well a linear classifier predicts classes from frozen codes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frame.common.errors import NoNumber, TooFew, UserError, at_least
from frame.measures.neighbours import check_classes, check_codes

CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
LRS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class LinearProbe:
    """p(y|z) = softmax(W' (z - mean) / scale + b); mean and scale are those of the codes that it was trained on."""

    weight: Tensor  # W [D, K]
    bias: Tensor  # b [K]
    mean: Tensor  # [D]
    scale: Tensor  # [D]

    def __call__(self, codes: Tensor) -> Tensor:
        """Log-probabilities of the classes, [N, K].

        Raises:
            NoNumber: codes that are NaN or infinite.
        """
        z = _finite(codes, "judged")
        return torch.addmm(self.bias, (z - self.mean) / self.scale, self.weight).log_softmax(1)

    def accuracy(self, codes: Tensor, y: Tensor) -> float:
        """Share of the rows whose most probable class is `y` [N].

        Raises:
            NoNumber: there are no rows, codes are not finite, or a class did not occur in training.
        """
        return self.right(codes, y).double().mean().item()

    def right(self, codes: Tensor, y: Tensor) -> Tensor:
        """Whether the most probable class of each row is `y` [N]; raises the errors of `accuracy`."""
        if not len(y):
            raise TooFew("there are no rows on which the probe can be tested")
        if int(y.max()) >= len(self.bias):
            raise NoNumber(f"class {int(y.max())} is tested, but training had only classes up to {len(self.bias) - 1}")
        return self(codes).argmax(1) == y


def logistic_regression(
    codes: Tensor, y: Tensor, cs: Sequence[float] = CS, max_iter: int = 300, tolerance: float = 1e-4
) -> list[LinearProbe]:
    """One multinomial logistic regression for each regularisation, in the order of `cs`.

    Minimises C sum_i -log p(y_i|z_i) + |W|^2 / 2 on codes that are scaled to mean 0 and variance 1, as scikit-learn's
    `LogisticRegression(C=C)` after a `StandardScaler`; b is not regularised. L-BFGS starts a larger C at the solution
    of the smaller one.

    Args:
        codes, y: [N, D], and classes 0, 1, ... [N].
        cs: inverse strengths of the regularisation, positive.
        max_iter: maximum number of steps for each of them.
        tolerance: it ends if no component of the mean loss's gradient is above this.

    Raises:
        UserError: see `_checked`; or a C is not positive.
        NoNumber: see `_checked`.
    """
    if not cs or not min(cs) > 0:
        raise UserError(f"cs={list(cs)}: give one regularisation or more, all positive")
    x, mean, scale, n_classes = _standardised(codes, y)
    n, size = x.shape
    target = torch.nn.functional.one_hot(y, n_classes).T.to(x.dtype).contiguous()  # [K, N]: faster than [N, K]
    flat = torch.zeros((size + 1) * n_classes)  # b, then W'
    found: dict[float, LinearProbe] = {}
    for c in sorted(set(cs)):

        def objective(flat: Tensor, decay: float = 1 / (c * n)) -> tuple[float, Tensor]:
            b, w = flat[:n_classes], flat[n_classes:].view(n_classes, size)
            log_p = (w @ x.T).add_(b.unsqueeze(1)).log_softmax(0)  # [K, N]
            loss = -log_p.gather(0, y.unsqueeze(0)).double().mean() + decay / 2 * w.double().square().sum()
            residual = log_p.exp_().sub_(target).div_(n)
            return loss.item(), torch.cat([residual.sum(1), (residual @ x).add_(w, alpha=decay).flatten()])

        flat = _minimised(objective, flat, max_iter, tolerance)
        weight = flat[n_classes:].view(n_classes, size)
        found[c] = LinearProbe(weight.T.contiguous(), flat[:n_classes], mean, scale)
    return [found[c] for c in cs]


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
    """The index of the probe with the best accuracy on held-out rows (the first of equal ones), and all accuracies."""
    accuracies = [probe.accuracy(codes, y) for probe in probes]
    return accuracies.index(max(accuracies)), accuracies


def confusion(predicted: Tensor, y: Tensor, n_classes: int) -> Tensor:
    """Counts of rows of class i that were classified as class j, [n_classes, n_classes]."""
    return torch.bincount(y * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)


def _standardised(codes: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Codes of mean 0 and variance 1, the mean and scale that were removed, and the number of classes."""
    _checked(codes, y)
    codes = codes.float()
    variance, mean = torch.var_mean(codes, 0, correction=0)
    scale = variance.sqrt()
    scale = torch.where(scale > 1e-6 * mean.abs(), scale, 1.0)  # a constant column stays constant
    return (codes - mean).div_(scale), mean, scale, int(y.max()) + 1


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
