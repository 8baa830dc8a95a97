"""How many of its codes a model with discrete latents uses."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Scalar, given
from frame.measures.codes import perplexity, usage
from frame.measures.statistics import mean_and_standard_error


@runtime_checkable
class Quantises(Protocol):
    n_codes: int

    def quantise(self, x: Tensor) -> Tensor:
        """Indices of the codes of x in 0 .. n_codes - 1, [B, *where]."""
        ...


class CodebookEvaluation(Evaluation):
    """Perplexity of the codes' frequencies over all positions of all pictures; 'used' is the % of codes that occur.

    Perplexity is exp(entropy). Papers often give the mean perplexity of training batches. It is lower, because a batch
    misses rare codes. Here it is 'batch', reported if `batch_size` is given.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.
        batch_size: pictures in each batch of 'batch'; None leaves 'batch' out.

    Raises:
        UserError: n_samples < 1 or batch_size < 1.
    """

    needs = (Quantises,)

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None, batch_size: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples, batch_size=batch_size)
        self.n_samples = n_samples
        self.batch_size = batch_size

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        batch = {"batch": "codes"} if self.batch_size is not None else {}
        return Declaration(self.evaluate_on, {"": "codes", "used": "%", **batch})

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, Quantises)

        def of(batch: Batch) -> dict[str, Tensor]:
            return {"indices": model.quantise(*given(model, batch))}

        indices = self.over_rows(model, data, self.n_samples, of, batch_size=256)["indices"]  # [N, *where]
        counts = usage(indices, model.n_codes).double()
        n, estimator = len(indices), f"frequencies of {indices.numel()} codes out of {model.n_codes}, plugged in"
        used = 100 * (counts > 0).double().mean().item()
        entry = LogEntry(
            self.evaluate_on,
            scalars={
                "": Scalar(perplexity(counts).item(), "codes", n, estimator),
                "used": Scalar(used, "%", n, estimator),
            },
        )
        if self.batch_size is not None:
            whole = indices[: max(1, n // self.batch_size) * self.batch_size].split(self.batch_size)
            each = torch.stack([perplexity(usage(some, model.n_codes)) for some in whole])
            mean, error = mean_and_standard_error(each)
            entry.scalars["batch"] = Scalar(mean, "codes", n, f"mean over batches of {self.batch_size} pictures", error)
        return entry
