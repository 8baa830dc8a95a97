"""How codes represent the factors of the data; `frame/measures/` defines each measure."""

import os

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Encodes, Evaluation, LogEntry, Scalar
from frame.evaluation.codes import codes_of
from frame.evaluation.shards import once
from frame.measures import factors as measures
from frame.measures.factor_scores import beta_vae_score, factor_vae_score


class FactorsEvaluation(Evaluation):
    """Base class of measures that compare the mean codes of a split with its factors.

    Args:
        evaluate_on: split.
        n_samples: rows of it; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1; from `evaluate`, the errors of the measure.
    """

    needs = (Encodes,)
    needs_data = ("x", "factors")
    numbers = {"": "of 1"}

    def __init__(self, evaluate_on: str = "test", n_samples: int | None = 10_000) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        found = codes_of(model, data, self.evaluate_on, "mean", self.n_samples)
        assert found.factors is not None
        codes, factors = found.codes, found.factors
        measured, estimator = once(lambda: self.measure(codes, factors))  # some take minutes and several processes
        n = len(codes)
        return LogEntry(
            self.evaluate_on,
            {key: Scalar(value, "of 1", n, estimator, layer="mean") for key, value in measured.items()},
        )

    def measure(self, codes: Tensor, factors: Tensor) -> tuple[dict[str, float], str]:
        """The numbers by their names, and how they were estimated."""
        raise NotImplementedError


class MIGEvaluation(FactorsEvaluation):
    """Mutual information gap, with `n_bins` bins of equal width for each code."""

    def __init__(self, evaluate_on: str = "test", n_samples: int | None = 10_000, n_bins: int = 20) -> None:
        super().__init__(evaluate_on, n_samples)
        at_least(2, n_bins=n_bins)
        self.n_bins = n_bins

    def measure(self, codes: Tensor, factors: Tensor) -> tuple[dict[str, float], str]:
        return {"": measures.mig(codes, factors, self.n_bins)}, f"{self.n_bins} bins of equal width"


class ModularityEvaluation(FactorsEvaluation):
    """Modularity, with the same bins as MIG, and 'explicitness', by logistic regression."""

    numbers = {"": "of 1", "explicitness": "of 1"}

    def __init__(self, evaluate_on: str = "test", n_samples: int | None = 10_000, n_bins: int = 20) -> None:
        super().__init__(evaluate_on, n_samples)
        at_least(2, n_bins=n_bins)
        self.n_bins = n_bins

    def measure(self, codes: Tensor, factors: Tensor) -> tuple[dict[str, float], str]:
        found = {
            "": measures.modularity(codes, factors, self.n_bins),
            "explicitness": measures.explicitness(codes, factors),
        }
        return found, f"{self.n_bins} bins of equal width; explicitness: logistic regression, half of the rows ranked"


class SAPEvaluation(FactorsEvaluation):
    """Separated attribute predictability."""

    def measure(self, codes: Tensor, factors: Tensor) -> tuple[dict[str, float], str]:
        return {"": measures.sap(codes, factors)}, "linear support vector machines, C = 0.01, half of the rows tested"


class DCIEvaluation(FactorsEvaluation):
    """Disentanglement under the evaluation's own name, 'completeness' and 'informativeness'.

    Args:
        n_samples: rows, two thirds to fit and one third to test; 15,000 are usual.
        n_jobs: processes, each for one factor at a time; None uses all processors.
    """

    numbers = dict.fromkeys(("", "completeness", "informativeness"), "of 1")

    def __init__(self, evaluate_on: str = "test", n_samples: int | None = 15_000, n_jobs: int | None = None) -> None:
        super().__init__(evaluate_on, n_samples)
        at_least(1, n_jobs=n_jobs)
        self.n_jobs = n_jobs or os.cpu_count() or 1

    def measure(self, codes: Tensor, factors: Tensor) -> tuple[dict[str, float], str]:
        found = measures.dci(codes, factors, n_jobs=self.n_jobs)
        estimator = "importances of gradient-boosted trees; informativeness: their accuracy on a third of the rows"
        return {"": found.pop("disentanglement"), **found}, estimator


class FactorVAEScoreEvaluation(FactorsEvaluation):
    """The score of the FactorVAE paper: a majority vote on the latent that varies least."""

    def measure(self, codes: Tensor, factors: Tensor) -> tuple[dict[str, float], str]:
        return {"": factor_vae_score(codes, factors)}, "10,000 votes learned, 5,000 tested, batches of 64"


class BetaVAEScoreEvaluation(FactorsEvaluation):
    """The score of the beta-VAE paper: a logistic regression on mean absolute differences of pairs."""

    def measure(self, codes: Tensor, factors: Tensor) -> tuple[dict[str, float], str]:
        return {"": beta_vae_score(codes, factors)}, "10,000 points learned, 5,000 tested, 64 pairs each"
