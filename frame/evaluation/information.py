"""The estimate of a trained estimator of mutual information on held-out pairs."""

import math
from typing import Any

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Declaration, EstimatesInformation, Evaluation, LogEntry, Scalar
from frame.measures.statistics import mean_and_standard_error


class InformationEvaluation(Evaluation):
    """The model's estimate of I(v1; v2) in nats, 'std' between batches, and 'truth' and 'error' if the data know them.

    Its record says whether it is a bound, and whether it is within 10 % of the most that such batches can show.

    Args:
        evaluate_on: split.
        batch_size: rows of each estimate: InfoNCE gives at most log(batch_size); more rows, less variance.
        n_samples: rows of the split, in whole batches; all of them if None or if there are fewer.

    Raises:
        UserError: batch_size < 2, or n_samples < 1.
    """

    needs = (EstimatesInformation,)
    needs_data = ("views",)

    def __init__(self, evaluate_on: str = "test", batch_size: int = 64, n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(2, batch_size=batch_size)
        at_least(1, n_samples=n_samples)
        self.batch_size, self.n_samples = batch_size, n_samples

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        n = len(data.split(self.evaluate_on))
        names = ["", *(["std"] if min(n, self.n_samples or n) >= 2 * self.batch_size else [])]
        names += ["truth", "error"] if getattr(data, "information", None) is not None else []
        return Declaration(self.evaluate_on, dict.fromkeys(names, "nats"))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, EstimatesInformation)

        def of(batch: Batch) -> dict[str, Tensor]:
            return {"nats": model.information(*batch["views"]).view(1)}

        rows = len(data.split(self.evaluate_on))
        n = rows if self.n_samples is None else min(rows, self.n_samples)
        size = min(n, self.batch_size)
        n -= n % size  # without a short last batch
        found = self.over_rows(model, data, n, of, size)["nats"]
        mean, standard_error = mean_and_standard_error(found)
        estimator = f"mean over batches of {size} rows"
        # a model that declares no bound and no limit has none
        bound: str = getattr(model, "information_bound", "")
        limited: Any = getattr(model, "information_limit", None)
        limit = math.inf if limited is None else float(limited(size))
        saturated = mean > 0.9 * limit
        scalar = Scalar(mean, "nats", n, estimator, standard_error, bound=bound, saturated=saturated, better="")
        entry = LogEntry(self.evaluate_on, {"": scalar})
        if len(found) > 1:
            entry.scalars["std"] = Scalar(found.std().item(), "nats", n, f"between batches of {size} rows", better="")
        truth: float | None = getattr(data, "information", None)
        if truth is not None:
            entry.scalars["truth"] = Scalar(truth, "nats", None, "closed form", better="")
            entry.scalars["error"] = Scalar(mean - truth, "nats", n, estimator, standard_error, better="")
        return entry
