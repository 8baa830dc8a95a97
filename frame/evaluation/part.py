"""An evaluation of one model among several that are trained together."""

from torch import nn

from frame.common.errors import UserError, choices
from frame.data.base import DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry
from frame.evaluation.floors import floors_of_part


class PartEvaluation(Evaluation):
    """Runs another evaluation on one part of the model.

    Args:
        part: the part's name, such as `models.vae` in `model=Joint`.
        evaluation: the evaluation to run on it.

    Raises:
        UserError: from `check`, the model has no such part, or the part or the data cannot serve.
    """

    def __init__(self, part: str, evaluation: Evaluation) -> None:
        super().__init__(evaluation.evaluate_on)
        self.part, self.evaluation, self.fits_on = part, evaluation, evaluation.fits_on

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        return self.evaluation.declare(model.get_submodule(self.part), data)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        with floors_of_part(self.part):
            return self.evaluation.evaluate(model.get_submodule(self.part), data)

    def check(self, model: nn.Module, data: DataSet) -> None:
        names = dict(model.named_modules())
        if self.part not in names:
            near = [name for name in names if name.count(".") <= self.part.count(".") and name]
            raise UserError(f"PartEvaluation: {choices(self.part, near, kind='part')}")
        self.evaluation.check(names[self.part], data)
