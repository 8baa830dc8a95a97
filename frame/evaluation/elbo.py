"""The evidence lower bound."""

from typing import Any

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import (
    Better,
    BoundsLikelihood,
    Declaration,
    Evaluation,
    LogEntry,
    Scalar,
    check_densities,
    given,
)
from frame.evaluation.levels import bits, bits_declared, bits_of
from frame.measures.statistics import mean_and_standard_error


class ELBOEvaluation(Evaluation):
    """ELBO in nats per row of the data, with 'rate' and 'distortion'; the KL has weight 1, whatever training uses.

    If p(x|z) is a probability mass function over the pixels' values, 'bits_per_dim' is -ELBO / (D ln 2) for D values.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split, one posterior sample for each; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1.
    """

    needs = (BoundsLikelihood,)

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, data)
        bound: Any = model.log_likelihood_bound
        check_densities(self, model, lambda: bound(*given(model, next(self.batches(model, data, 1)))))

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        numbers = dict.fromkeys(("", "rate", "distortion"), f"nats per {data.row}")
        return Declaration(self.evaluate_on, numbers | bits_declared(model, next(self.batches(model, data, 1024))))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, BoundsLikelihood)

        def of(batch: Batch) -> dict[str, Tensor]:
            bound = model.log_likelihood_bound(*given(model, batch))
            return {term: bound[term] for term in ("elbo", "rate", "distortion")} | bits_of(model, batch)

        found = self.over_rows(model, data, self.n_samples, of)
        entry = LogEntry(self.evaluate_on)
        better: dict[str, Better] = {"elbo": "more", "rate": "", "distortion": "less"}
        for key, term in {"": "elbo", "rate": "rate", "distortion": "distortion"}.items():
            mean, standard_error = mean_and_standard_error(found[term])
            entry.scalars[key] = Scalar(
                mean,
                unit=f"nats per {data.row}",
                n_samples=len(found[term]),
                estimator=f"1 posterior sample a {data.row}; KL analytic between Gaussians, else by the same sample",
                standard_error=standard_error,
                bound="lower" if term == "elbo" else "",
                better=better[term],
            )
        entry.scalars |= bits(found["elbo"], found, "-ELBO")
        return entry
