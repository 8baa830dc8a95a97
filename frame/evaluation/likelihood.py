"""The importance-weighted bound on the log-likelihood, which becomes tight with many samples."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Scalar, WeighsSamples, check_densities, given
from frame.evaluation.levels import bits, bits_declared, bits_of
from frame.measures.statistics import mean_and_standard_error
from frame.probability.importance import streamed_iwae_bound

ROWS = 1024  # (picture, sample) pairs in one pass through the decoder: small enough for the processor's caches


class IWAEBoundEvaluation(Evaluation):
    """log 1/S sum_s p(x, z_s) / q(z_s|x) in nats per row, z_s ~ q(z|x), for any model with `log_weights`.

    If p(x|z) is a probability mass function over the pixels' values, 'bits_per_dim' is the bound over -D ln 2.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.
        n_posterior_samples: S; 5,000 is usual, and 1,000 pictures then take one to two minutes on one CPU core.

    Raises:
        UserError: n_samples or n_posterior_samples is below 1.
    """

    needs = (WeighsSamples,)

    def __init__(
        self, evaluate_on: str = "valid", n_samples: int | None = None, n_posterior_samples: int = 5000
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples, n_posterior_samples=n_posterior_samples)
        self.n_samples, self.n_posterior_samples = n_samples, n_posterior_samples

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        log_weights: Any = model.log_weights
        check_densities(
            self, model, lambda: log_weights(*given(model, next(self.batches(model, data, 1))), n_samples=1)
        )

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        bits = bits_declared(model, next(self.batches(model, data, 1024)))
        return Declaration(self.evaluate_on, {"": f"nats per {data.row}"} | bits)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        def of(batch: Batch) -> dict[str, Tensor]:
            return {"bound": self.bound(model, given(model, batch))}

        # few pictures with many samples each: x of one picture is broadcast and never copied
        at_once = max(1, ROWS // self.n_posterior_samples)
        bounds = self.over_rows(model, data, self.n_samples, of, at_once=at_once)["bound"]
        levels = self.over_rows(model, data, self.n_samples, partial(bits_of, model))
        mean, standard_error = mean_and_standard_error(bounds)
        estimator = f"log of the mean of {self.n_posterior_samples} importance weights, a lower bound"
        scalar = Scalar(mean, f"nats per {data.row}", len(bounds), estimator, standard_error, bound="lower")
        return LogEntry(self.evaluate_on, scalars={"": scalar} | bits(bounds, levels, "-bound"))

    def bound(self, model: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        """The bound of each row, [B], from chunks of its samples."""
        log_weights: Any = model.log_weights
        full, rest = divmod(self.n_posterior_samples, ROWS)
        sizes = [ROWS] * full + [rest] * (rest > 0)
        return streamed_iwae_bound(log_weights(*inputs, n_samples=size) for size in sizes)
