"""How many units of a code are not 0."""

from torch import nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Encodes, Evaluation, LogEntry, Scalar
from frame.evaluation.codes import codes_of
from frame.measures.statistics import mean_and_standard_error


class SparsityEvaluation(Evaluation):
    """The mean number of units of the code that are not 0; 'dead' is the % of units that are 0 for all pictures.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer. With fewer pictures, more units
            count as dead.

    Raises:
        UserError: n_samples < 1.
    """

    needs = (Encodes,)
    numbers = {"": "units", "dead": "%"}

    def __init__(self, evaluate_on: str = "train", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        at_work = codes_of(model, data, self.evaluate_on, "mean", self.n_samples).codes != 0  # [N, n]
        n, n_units = at_work.shape
        l0, error = mean_and_standard_error(at_work.sum(1))
        dead = 100 * (~at_work.any(0)).double().mean().item()
        return LogEntry(
            self.evaluate_on,
            scalars={
                "": Scalar(l0, "units", n, f"of {n_units}, those that are not 0", error, layer="mean", better=""),
                "dead": Scalar(dead, "%", n, f"of {n_units} units, 0 for all pictures", layer="mean", better="less"),
            },
        )
