"""How many of its codes a model with discrete latents uses."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from frame.data.base import DataSet
from frame.evaluation.base import Evaluation, LogEntry, Scalar, given
from frame.measures.codes import perplexity, usage
from frame.mistakes import at_least


@runtime_checkable
class Quantises(Protocol):
    n_codes: int

    def quantise(self, x: Tensor) -> Tensor:
        """Indices of the codes of x in 0 .. n_codes - 1, [B, *where]."""
        ...


class CodebookEvaluation(Evaluation):
    """Perplexity exp(entropy) of the frequencies of the codes over all positions of all pictures together, and 'used',
    how many % of the codes occur at all.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or more than there are.

    Raises:
        Mistake: n_samples < 1.
    """

    needs = (Quantises,)

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, Quantises)
        counts, n = torch.zeros(model.n_codes, dtype=torch.float64), 0
        for batch in self.batches(model, data, self.n_samples, batch_size=256):
            indices = model.quantise(*given(model, batch))
            counts += usage(indices, model.n_codes).double().cpu()
            n += len(indices)
        estimator = f"frequencies of {int(counts.sum())} codes out of {model.n_codes}, plugged in"
        used = 100 * (counts > 0).double().mean().item()
        return LogEntry(
            self.evaluate_on,
            scalars={
                "": Scalar(perplexity(counts).item(), "codes", n, estimator),
                "used": Scalar(used, "%", n, estimator),
            },
        )
