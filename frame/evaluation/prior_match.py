"""Distance between the codes of all rows together and the prior."""

from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Encodes, Evaluation, HasPrior, LogEntry, Scalar, device_of, given
from frame.measures.statistics import mean_and_standard_error
from frame.probability.divergences import imq, mmd


@runtime_checkable
class _EncodesWithPrior(Encodes, HasPrior, Protocol):
    pass


class PriorMatchEvaluation(Evaluation):
    """Squared MMD between codes z ~ q(z|x) and as many samples of p(z): 0 on average if q(z) is p(z).

    The estimate is unbiased and may be negative. It uses the kernel 2D / (2D + d^2) for D latents, and is a mean over
    blocks of pictures. With fewer than two blocks the standard error is unknown.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.
        block: pictures in a block.

    Raises:
        UserError: a number is out of range.
    """

    needs = (Encodes, HasPrior)

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None, block: int = 100) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        at_least(2, block=block)
        self.n_samples, self.block = n_samples, block

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, _EncodesWithPrior)

        def of(batch: Batch) -> dict[str, Tensor]:
            return {"z": model.encode(*given(model, batch)).sample()}

        z = self.over_rows(model, data, self.n_samples, of)["z"].to(device_of(model))
        # blocks of equal size; if there are fewer rows than a block, one smaller block
        size = min(self.block, len(z))
        blocks = z[: len(z) // size * size].split(size)
        kernel = partial(imq, width=2.0 * z.shape[-1])
        mean, error = mean_and_standard_error(torch.stack([mmd(b, model.sample_prior(size), kernel) for b in blocks]))
        estimator = f"unbiased squared MMD, kernel 2D / (2D + d^2), D = {z.shape[-1]}, blocks of {size}"
        value = Scalar(mean, "", len(blocks) * size, estimator, error, layer="sample", better="less")
        return LogEntry(self.evaluate_on, scalars={"": value})
