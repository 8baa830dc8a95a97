"""How the codes of a split lie in their space; what each number is stands in `frame.measures.geometry`."""

from torch import nn

from frame.data.base import DataSet
from frame.evaluation.base import Encodes, Evaluation, LogEntry, Scalar
from frame.evaluation.codes import codes_of
from frame.measures.geometry import dead_units, effective_rank, rankme, uniformity
from frame.mistakes import at_least


class GeometryEvaluation(Evaluation):
    """'rankme', 'effective_rank', 'uniformity' and 'dead' dimensions of the means of encode(x).

    Args:
        evaluate_on: split.
        n_samples: rows of it; all of them if None or more than there are.

    Raises:
        Mistake: n_samples < 1; from `evaluate`, what the measures say of collapsed codes.
    """

    needs = (Encodes,)

    def __init__(self, evaluate_on: str = "test", n_samples: int | None = 10_000) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        codes = codes_of(model, data, self.evaluate_on, "mean", self.n_samples).codes
        n, size = codes.shape
        found = {
            "rankme": Scalar(rankme(codes), f"of {size}", n, "exp of the entropy of the singular values", layer="mean"),
            "effective_rank": Scalar(
                effective_rank(codes), f"of {size}", n, "exp of the entropy of the covariance's spectrum", layer="mean"
            ),
            "uniformity": Scalar(uniformity(codes), "log", n, "all pairs, t = 2, codes of length 1", layer="mean"),
            "dead": Scalar(
                float(dead_units(codes)), f"of {size}", n, "spread below 1 % of the widest dimension's", layer="mean"
            ),
        }
        return LogEntry(self.evaluate_on, found)
