"""A method's own loss on a split, with the same noise each time."""

import torch
from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Better, Declaration, Evaluation, LogEntry, Scalar, Unsuited


class LossEvaluation(Evaluation):
    """The model's loss and what it logs beside it: means over batches of a split.

    The loss is that of training, except that the model is in eval mode: normalisations use their running statistics,
    and nothing is dropped. The views of a row are those of the run's own augmentations. Two runs are comparable only
    if they have the same method, weights, temperatures and batch size.

    Args:
        evaluate_on: split.
        n_samples: rows of it; all of them if None or if there are fewer.
        batch_size: rows that the loss compares with one another. A short last batch is left out unless it is the only
            one.

    Raises:
        UserError: a number is below 1.
    """

    needs_data = ()

    def __init__(self, evaluate_on: str = "train", n_samples: int | None = 10_000, batch_size: int = 256) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples, batch_size=batch_size)
        self.n_samples, self.batch_size = n_samples, batch_size

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        if not callable(getattr(model, "compute_loss", None)):
            raise Unsuited(f"LossEvaluation needs a model that has compute_loss(); {type(model).__name__} has none")
        row = next(self.batches(model, data, 1))
        for key in getattr(model, "needs", ()):
            inner: object = row
            for part in key.split("."):
                inner = inner.get(part) if isinstance(inner, dict) else None
            if inner is None:
                raise Unsuited(
                    f"LossEvaluation needs '{key}', which the loss of {type(model).__name__} reads; "
                    f"'{self.evaluate_on}' of {type(data).__name__} has none",
                    key=key,
                )

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        rows = max(2, getattr(model, "least_rows", 1))
        found = losses(model, next(self.batches(model, data, rows)))
        return Declaration(self.evaluate_on, dict.fromkeys(map(_key, found), ""))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        n_rows = len(data.split(self.evaluate_on))
        n_rows = n_rows if self.n_samples is None else min(n_rows, self.n_samples)
        whole = n_rows // self.batch_size * self.batch_size or n_rows
        found = self.over_rows(
            model,
            data,
            whole,
            lambda batch: {name: value.detach().float().view(1) for name, value in losses(model, batch).items()},
            self.batch_size,
        )
        estimator = f"mean over batches of {min(self.batch_size, whole)} rows, eval mode"
        scalars = {}
        for name, values in found.items():
            error = float(values.double().std() / len(values) ** 0.5) if len(values) > 1 else None
            better: Better = "less" if name == "loss" else ""
            scalars[_key(name)] = Scalar(float(values.double().mean()), "", whole, estimator, error, better=better)
        return LogEntry(self.evaluate_on, scalars)


def losses(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The model's losses of a batch, each of shape (). Some, such as IRM's penalty, are gradients themselves."""
    with torch.enable_grad():
        found: dict[str, Tensor] = model.compute_loss(batch)  # type: ignore[operator]
    return found


def _key(name: str) -> str:
    """The key of a number: '' for the loss itself."""
    return "" if name == "loss" else name
