"""What a fitted estimator of mutual information says of held-out pairs."""

import torch
from torch import nn

from frame.data.base import DataSet
from frame.evaluation.base import EstimatesInformation, Evaluation, LogEntry, Scalar
from frame.measures.statistics import mean_and_standard_error
from frame.mistakes import at_least


class InformationEvaluation(Evaluation):
    """The model's estimate of I(v1; v2) in nats, 'std' between batches, and 'truth' and 'error' where data know it.

    Args:
        evaluate_on: split.
        batch_size: rows of each estimate: InfoNCE finds at most log(batch_size), and all vary less with more rows.
        n_samples: rows of the split, in whole batches; all of them if None or more than there are.

    Raises:
        Mistake: batch_size < 2, or n_samples < 1.
    """

    needs = (EstimatesInformation,)
    needs_data = ("views",)

    def __init__(self, evaluate_on: str = "test", batch_size: int = 64, n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(2, batch_size=batch_size)
        at_least(1, n_samples=n_samples)
        self.batch_size, self.n_samples = batch_size, n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, EstimatesInformation)
        batches = list(self.batches(model, data, self.n_samples, self.batch_size))
        whole = [batch for batch in batches if len(batch["index"]) == self.batch_size] or batches[:1]
        found = torch.stack([model.information(*batch["views"]) for batch in whole])
        mean, standard_error = mean_and_standard_error(found)
        n = sum(len(batch["index"]) for batch in whole)
        estimator = f"mean over batches of {len(whole[0]['index'])} rows"
        entry = LogEntry(self.evaluate_on, {"": Scalar(mean, "nats", n, estimator, standard_error)})
        if len(found) > 1:
            entry.scalars["std"] = Scalar(found.std().item(), "nats", n, f"between {estimator[10:]}")
        truth: float | None = getattr(data, "information", None)
        if truth is not None:
            entry.scalars["truth"] = Scalar(truth, "nats", None, "closed form")
            entry.scalars["error"] = Scalar(mean - truth, "nats", n, estimator, standard_error)
        return entry
