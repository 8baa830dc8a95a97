"""The geometry of a split's codes; `frame.measures.geometry` defines the numbers."""

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Declaration, Encodes, Evaluation, LogEntry, Scalar, given
from frame.evaluation.codes import codes_of
from frame.measures.geometry import alignment, dead_units, effective_rank, rankme, uniformity


class GeometryEvaluation(Evaluation):
    """'rankme', 'effective_rank', 'uniformity' and 'dead' dimensions of the means of encode(x).

    If the data have two views, it also measures the 'alignment' of their codes.

    Args:
        evaluate_on: split.
        n_samples: rows of it; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1; from `evaluate`, the codes have collapsed.
    """

    needs = (Encodes,)

    def __init__(self, evaluate_on: str = "test", n_samples: int | None = 10_000) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        assert isinstance(model, Encodes)
        size = model.encode(*given(model, next(self.batches(model, data, 1)))).mean.flatten(1).shape[1]
        numbers = dict.fromkeys(("rankme", "effective_rank", "dead"), f"of {size}") | {"uniformity": "log"}
        return Declaration(self.evaluate_on, numbers | ({"alignment": "of 4"} if _has_views(model, data) else {}))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        codes = codes_of(model, data, self.evaluate_on, "mean", self.n_samples).codes
        n, size = codes.shape
        found = {
            "rankme": Scalar(rankme(codes), f"of {size}", n, "exp of the entropy of the singular values", layer="mean"),
            "effective_rank": Scalar(
                effective_rank(codes), f"of {size}", n, "exp of the entropy of the covariance's spectrum", layer="mean"
            ),
            "uniformity": Scalar(
                uniformity(codes), "log", n, "all pairs, t = 2, codes of length 1", layer="mean", better="less"
            ),
            "dead": Scalar(
                float(dead_units(codes)),
                f"of {size}",
                n,
                "spread below 1 % of the widest dimension's",
                layer="mean",
                better="less",
            ),
        }
        if _has_views(model, data):
            how = "squared distance of the first two views' codes, scaled to length 1"
            value = alignment(*self._views(model, data))
            found["alignment"] = Scalar(value, "of 4", n, how, layer="mean", better="less")
        return LogEntry(self.evaluate_on, found)

    def _views(self, model: nn.Module, data: DataSet) -> tuple[Tensor, Tensor]:
        """Codes of the first two views of each row."""
        assert isinstance(model, Encodes)

        def of(batch: Batch) -> dict[str, Tensor]:
            x, y = (model.encode(view).mean.flatten(1) for view in batch["views"][:2])
            return {"x": x, "y": y}

        found = self.over_rows(model, data, self.n_samples, of)
        return found["x"], found["y"]


def _has_views(model: nn.Module, data: DataSet) -> bool:
    """Whether the data have views that the model can encode without other inputs."""
    return "views" in data.keys and tuple(getattr(model, "inputs", ("x",))) == ("x",)
