"""How useful codes are on data that the model was not trained on."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from frame.data.base import DataSet
from frame.evaluation.base import Declaration, LogEntry
from frame.evaluation.changed import fitted
from frame.evaluation.floors import FLOORS
from frame.evaluation.linear_probe import TRAIN_ON, LinearProbeEvaluation
from frame.measures.linear_probe import CS


class TransferEvaluation(LinearProbeEvaluation):
    """Accuracy in % of a linear probe on the codes of another data set, with its floors on the same data.

    The model stays as it is; the probe learns on the other data's 'train', chooses on its 'valid', and is judged on
    its split. What is recorded is what `LinearProbeEvaluation` records.

    Args:
        other: a data set with labels. Pictures of another size are resized, and drawn as 0 or 1 where the run's are.
        evaluate_on, cs, layers, floors, n_train_samples, n_samples: see `LinearProbeEvaluation`.

    Raises:
        UserError: see there; from `check`, rows that the model cannot take.
        NoNumber: see there.
    """

    def __init__(
        self,
        other: Any,
        evaluate_on: str = "test",
        cs: Sequence[float] = CS,
        layers: Sequence[str] = ("mean", "features"),
        floors: Sequence[str] = FLOORS,
        n_train_samples: int | None = 50_000,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(evaluate_on, cs, layers, floors, n_train_samples, n_samples)
        self.other, self.of = other, f"{type(other).__name__}: "
        self._fitted: tuple[DataSet, DataSet] | None = None  # with the data whose pictures it takes the form of

    def check(self, model: nn.Module, data: DataSet) -> None:
        super().check(model, self._as(data))

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        return super().declare(model, self._as(data))

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        return super().evaluate(model, self._as(data))

    def _as(self, data: DataSet) -> DataSet:
        if self._fitted is None or self._fitted[0] is not data:
            self._fitted = data, fitted(self.other, data, TRAIN_ON)
        return self._fitted[1]
