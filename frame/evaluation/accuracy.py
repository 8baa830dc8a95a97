"""How well a model's own predictions agree with 'y'."""

import torch
from torch import nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Predicts, Scalar
from frame.evaluation.predictions import predictions
from frame.evaluation.scored import BY_TARGET, Target, declared, scored, table_of
from frame.measures.scores import KINDS
from frame.measures.statistics import mean_and_standard_error


class AccuracyEvaluation(Evaluation):
    """Scores of the model's `predict`.

    Classes: accuracy, of unequal classes 'balanced_accuracy', and 'error' in %, and 'cross_entropy', -log p(y|x) in
    nats. Several labels a row: 'macro_F1' and 'average_precision' in %, and 'cross_entropy', summed over labels.
    Numbers: 'R2', and 'mean_absolute_error' in the units of the file, if it is one number. Several labels or numbers
    have a table, 'targets', with the scores of each.

    Args:
        evaluate_on: split.
        n_samples: rows of the split; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1.
        NoNumber: from `evaluate`, numbers or labels that are the same in all rows, or not finite.
    """

    needs = (Predicts,)
    needs_data = ("x", "y")
    hidden = ("y",)
    kinds = KINDS

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        target = Target.of(data, self.evaluate_on)
        numbers = declared(target) | ({"error": "%"} if target.kind == "classes" else {})
        if target.kind != "numbers":
            numbers["cross_entropy"] = f"nats per {data.row}"
        return Declaration(self.evaluate_on, numbers, tables=[BY_TARGET] if target.several else [])

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        found, y = predictions(model, data, self.evaluate_on, self.n_samples)
        target, entry = Target.of(data, self.evaluate_on), LogEntry(self.evaluate_on)
        numbers = target.kind == "numbers"
        predicted = found if numbers else found.exp() if target.kind == "labels" else found.argmax(-1)
        how = {"classes": "most probable class", "labels": "probabilities", "numbers": "numbers"}[target.kind]
        entry.scalars = scored(target, predicted, y, f"{how} of predict()")
        if target.several:
            entry.tables[BY_TARGET] = table_of(target, predicted, y)
        if target.kind == "classes":
            right = entry.scalars[""]
            error = Scalar(100 - right.value, "%", len(y), right.estimator, right.standard_error, better="less")
            entry.scalars["error"] = error
        if not numbers:
            right_one = found.gather(1, y.unsqueeze(1)).squeeze(1) if target.kind == "classes" else _of_labels(found, y)
            value, standard_error = mean_and_standard_error(-right_one)
            unit, how = f"nats per {data.row}", "-log of predict() at the label"
            entry.scalars["cross_entropy"] = Scalar(value, unit, len(y), how, standard_error, better="less")
        return entry


def _of_labels(log_p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """log p(y|x) [N] of labels [N, K] from the log-probabilities that a row has them [N, K]."""
    without = torch.log1p(-log_p.double().exp().clamp(max=1 - 1e-12))
    return torch.where(y, log_p.double(), without).sum(1)
