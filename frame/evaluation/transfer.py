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

    The model does not change. The probe is trained on the other data's 'train', chosen on its 'valid', and tested on
    its `evaluate_on`. The records are those of `LinearProbeEvaluation`.

    Args:
        other: a data set with labels. Pictures of another size are resized, and drawn as 0 or 1 if the run's are.
        evaluate_on, cs, layers, floors, n_train_samples, n_samples: see `LinearProbeEvaluation`.

    Raises:
        UserError: see there; from `check`, the model cannot take the rows.
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
        self._fitted: tuple[DataSet, DataSet] | None = None  # the run's data, and the other data in their form

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
