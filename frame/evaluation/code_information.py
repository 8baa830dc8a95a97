"""Mutual information of codes: I(x; z) from the known q(z|x), and I(z; y) by predicting labels."""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from frame.common.errors import NoNumber, TooFew, at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import (
    BoundsLikelihood,
    Declaration,
    Encodes,
    Evaluation,
    LogEntry,
    Scalar,
    device_of,
    given,
)
from frame.evaluation.codes import codes_of
from frame.measures.classifier import fit_classifier
from frame.measures.statistics import mean_and_standard_error
from frame.probability.distributions import Delta, rsample
from frame.probability.mutual_information import (
    classifier_information,
    gaussian_log_probs,
    infonce,
    is_saturated,
    knn_information,
    label_entropy,
    leave_one_out,
)


@runtime_checkable
class HasRate(Protocol):
    def rate(self, x: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)), [B], nats."""
        ...


class CodeInformationEvaluation(Evaluation):
    """Bounds on I(x; z) in nats, from one z ~ q(z|x) per row; each record's `bound` is 'lower' or 'upper'.

    'mixture' replaces q(z) by the mixture of q(z|x) over all rows: a lower bound, at most log N. 'infonce' does so
    within batches: a lower bound, at most log(batch_size). 'leave_one_out' leaves a row out of its own mixture: an
    upper bound. 'rate' is the mean KL(q(z|x) || p(z)), an upper bound, if the model has an unconditional p(z). A number
    within 10 % of its limit is `saturated`. If the model is conditioned on more than x, x stands for all its inputs.

    Args:
        evaluate_on: split.
        n_samples: rows of it; all of them if None or if there are fewer.
        batch_size: rows of the mixture in 'infonce' and 'leave_one_out'.

    Raises:
        UserError: a number is out of range.
        NoNumber: from `evaluate`, an encoder without noise, codes that are NaN, or too few rows.
    """

    needs = (Encodes,)

    def __init__(self, evaluate_on: str = "test", n_samples: int | None = 10_000, batch_size: int = 512) -> None:
        super().__init__(evaluate_on)
        at_least(2, n_samples=n_samples, batch_size=batch_size)
        self.n_samples, self.batch_size = n_samples, batch_size

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        names = ("mixture", "infonce", "leave_one_out", *(["rate"] if _is_rated(model) else []))
        return Declaration(self.evaluate_on, dict.fromkeys(names, "nats"))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        z, q, rates = self._encoded(model, data)
        if len(z) < 2:
            raise TooFew("I(x; z) needs two rows or more")
        if not z.isfinite().all():
            raise NoNumber("codes have values that are NaN or infinite: the model has diverged")
        n, size = len(z), min(self.batch_size, len(z))
        rows, lower, upper = [], [], []
        for start in range(0, n, size):
            log_q = _log_probs(z[start : start + size], q)  # [b, N]
            rows.append(log_q.diagonal(start) - log_q.logsumexp(1) + math.log(n))
            if len(log_q) == size:
                scores = log_q[:, start : start + size]
                lower.append(infonce(scores))
                upper.append(leave_one_out(scores))
        found = {
            "mixture": _limited(torch.cat(rows), n, n, f"q(z) the mixture of q(z|x) over all {n} rows"),
            "infonce": _limited(torch.stack(lower), size, len(lower) * size, f"InfoNCE with q(z|x), batches of {size}"),
        }
        mean, error = mean_and_standard_error(torch.stack(upper))
        text = f"q(z|x) beside the mean over the others of a batch of {size}"
        found["leave_one_out"] = Scalar(
            mean, "nats", len(upper) * size, text, error, "sample", bound="upper", better=""
        )
        if rates is not None:
            mean, error = mean_and_standard_error(rates)
            text = "KL(q(z|x) || p(z)), analytic between Gaussians, else by one sample"
            found["rate"] = Scalar(mean, "nats", n, text, error, "sample", bound="upper", better="")
        return LogEntry(self.evaluate_on, found)

    def _encoded(self, model: nn.Module, data: DataSet) -> tuple[Tensor, list[Distribution], Tensor | None]:
        """One z ~ q(z|x) of each row, q(z|x) of all (one distribution if it is Gaussian), and the rates of the rows."""
        assert isinstance(model, Encodes)
        conditioned = not _takes_x_alone(model)

        def of(batch: Batch) -> dict[str, Tensor]:
            q = model.encode(*given(model, batch))
            if isinstance(q, Delta):
                raise NoNumber(
                    f"I(x; z) cannot be measured: {type(model).__name__} encodes without noise; use label_information "
                    "instead"
                )
            found = {"z": rsample(q) if q.has_rsample else q.sample()}
            if _is_gaussian(q):
                found |= {"loc": q.base_dist.loc, "scale": q.base_dist.scale}  # type: ignore[attr-defined]
            if not conditioned and isinstance(model, HasRate):
                found["rate"] = model.rate(batch["x"])
            elif not conditioned and isinstance(model, BoundsLikelihood):
                found["rate"] = model.log_likelihood_bound(batch["x"])["rate"]
            return found

        found = self.over_rows(model, data, self.n_samples, of)
        found |= {key: found[key].to(device_of(model)) for key in ("z", "loc", "scale") if key in found}
        if "loc" in found:
            q: list[Distribution] = [_gaussian(found["loc"], found["scale"])]
        else:  # distributions cannot be shared as tensors: each rank encodes all rows
            q = [model.encode(*given(model, batch)) for batch in self.batches(model, data, self.n_samples)]
        return found["z"], q, found.get("rate")


class LabelInformationEvaluation(Evaluation):
    """I(z; y) in nats, from one z ~ q(z|x) per row: 'classifier' is a lower bound, 'knn' an estimate and no bound.

    'classifier' is H(y) minus the cross-entropy of a network with one hidden layer, trained on `train` and chosen on
    `valid`. 'entropy' is H(y), the largest possible I(z; y).

    Args:
        evaluate_on: split.
        n_samples: rows of it; all of them if None or if there are fewer.
        n_train_samples: rows of `train`; all of them if None or if there are fewer.
        width: units of the classifier's hidden layer; 0 for a linear classifier.
        n_neighbours: neighbours in 'knn'.

    Raises:
        UserError: a number is out of range.
        NoNumber: from `evaluate`, codes that are NaN or all equal, one class, or a class with too few rows.
    """

    needs = (Encodes,)
    needs_data = ("x", "y")
    hidden = ("y",)
    numbers = dict.fromkeys(("classifier", "knn", "entropy"), "nats")

    def __init__(
        self,
        evaluate_on: str = "test",
        n_samples: int | None = 10_000,
        n_train_samples: int | None = None,
        width: int = 256,
        n_neighbours: int = 3,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples, n_neighbours=n_neighbours)
        at_least(1, n_train_samples=n_train_samples)
        at_least(0, width=width)
        self.n_samples, self.n_train_samples = n_samples, n_train_samples
        self.width, self.n_neighbours = width, n_neighbours

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        rows = codes_of(model, data, self.evaluate_on, "sample", self.n_samples)
        assert rows.y is not None
        entropy, n = label_entropy(rows.y), len(rows.y)
        learned = [codes_of(model, data, split, "sample", self.n_train_samples) for split in ("train", "valid")]
        (codes, y), (valid_codes, valid_y) = ((part.codes, _labels(part.y)) for part in learned)
        n_classes = 1 + int(max(part.max() for part in (y, valid_y, rows.y)))
        net = fit_classifier(codes, y, valid_codes, valid_y, n_classes, self.width)
        told, error = mean_and_standard_error(classifier_information(net(rows.codes).log_softmax(1), rows.y))
        near, near_error = mean_and_standard_error(knn_information(rows.codes, rows.y, self.n_neighbours))
        kind = f"a hidden layer of {self.width}" if self.width else "a linear classifier"
        text = f"H(y) - cross-entropy of {kind}, trained on train, chosen on valid"
        knn = f"{self.n_neighbours} nearest of the class among all (Ross 2014)"
        return LogEntry(
            self.evaluate_on,
            {
                "classifier": Scalar(told, "nats", n, text, error, "sample", bound="lower"),
                "knn": Scalar(near, "nats", n, knn, near_error, "sample", bound="neither"),
                "entropy": Scalar(entropy, "nats", n, "H(y) of the split's frequencies", better=""),
            },
        )


def _takes_x_alone(model: nn.Module) -> bool:
    return tuple(getattr(model, "inputs", ("x",))) == ("x",)


def _is_rated(model: nn.Module) -> bool:
    """Whether the model has an unconditional p(z), so that its codes have a rate."""
    return _takes_x_alone(model) and isinstance(model, HasRate | BoundsLikelihood)


def _labels(y: Tensor | None) -> Tensor:
    assert y is not None
    return y


def _limited(values: Tensor, limit: int, n: int, how: str) -> Scalar:
    """A lower bound that cannot exceed log(limit); it is marked as saturated if it is near that."""
    mean, error = mean_and_standard_error(values)
    how, saturated = f"{how}, at most log {limit}", is_saturated(mean, limit)
    return Scalar(mean, "nats", n, how, error, "sample", bound="lower", saturated=saturated, better="")


def _is_gaussian(q: Distribution) -> bool:
    return isinstance(q, Independent) and isinstance(q.base_dist, Normal) and len(q.event_shape) == 1


def _gaussian(loc: Tensor, scale: Tensor) -> Independent:
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def _log_probs(z: Tensor, q: Sequence[Distribution]) -> Tensor:
    """log q(z_i|x_j) of all pairs, float64: [M, N]."""
    if len(q) == 1 and _is_gaussian(q[0]):
        return gaussian_log_probs(z, q[0].base_dist.loc, q[0].base_dist.scale)  # type: ignore[attr-defined]
    return torch.cat([part.log_prob(z.unsqueeze(1)).double() for part in q], 1)
