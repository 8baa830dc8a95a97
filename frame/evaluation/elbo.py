"""The evidence lower bound."""

from typing import Any

import torch
from torch import nn

from frame.common.errors import at_least
from frame.data.base import DataSet
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
from frame.evaluation.levels import bits, bits_declared, levels_of
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
        bounds, levels, n_dims = [], [], 0
        for batch in self.batches(model, data, self.n_samples):
            bounds.append(model.log_likelihood_bound(*given(model, batch)))
            levels.append(levels_of(model, batch))
            n_dims = batch["x"][0].numel()
        entry = LogEntry(self.evaluate_on)
        better: dict[str, Better] = {"elbo": "more", "rate": "", "distortion": "less"}
        for key, term in {"": "elbo", "rate": "rate", "distortion": "distortion"}.items():
            values = torch.cat([bound[term] for bound in bounds])
            mean, standard_error = mean_and_standard_error(values)
            entry.scalars[key] = Scalar(
                mean,
                unit=f"nats per {data.row}",
                n_samples=len(values),
                estimator=f"1 posterior sample a {data.row}; KL analytic between Gaussians, else by the same sample",
                standard_error=standard_error,
                bound="lower" if term == "elbo" else "",
                better=better[term],
            )
        entry.scalars |= bits(torch.cat([bound["elbo"] for bound in bounds]), levels, n_dims, "-ELBO")
        return entry
