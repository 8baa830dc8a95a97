"""How well a model predicts in each environment of the data."""

from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Predicts, Scalar, given
from frame.measures.statistics import mean_and_standard_error


class EnvironmentsEvaluation(Evaluation):
    """Accuracy of `predict` in each environment of a split, in %, by its number; and of the 'worst' one.

    If 'y' holds numbers, the mean squared error instead, of which the worst is the largest.

    Args:
        evaluate_on: split.
        n_samples: rows of the split; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1.
    """

    needs = (Predicts,)
    needs_data = ("x", "y", "env")
    hidden = ("y",)
    kinds = ("classes", "numbers")

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        source = data.split(self.evaluate_on)
        unit = "squared error" if source.batch(torch.arange(1))["y"].is_floating_point() else "%"
        # the rows of a batch are freed before the next one is read
        found = [source.batch(rows)["env"].unique() for rows in torch.arange(len(source)).split(4096)]
        envs = torch.cat(found).unique().tolist()
        return Declaration(self.evaluate_on, {"worst": unit, **{str(env): unit for env in envs}})

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        predicting: Any = model

        def of(batch: Batch) -> dict[str, Tensor]:
            found, y = predicting.predict(*given(model, batch)), batch["y"]
            numbers = y.is_floating_point()
            score = (found - y).square() if numbers else 100.0 * (found.argmax(1) == y)
            return {"score": score, "env": batch["env"], "numbers": torch.tensor([numbers])}

        found = self.over_rows(model, data, self.n_samples, of)
        numbers = bool(found["numbers"][0])
        unit, better = ("squared error", "less") if numbers else ("%", "more")
        estimator = "squared error of predict()" if numbers else "most probable class of predict()"
        each = {}
        for env in found["env"].unique().tolist():
            score = found["score"][found["env"] == env]
            value, error = mean_and_standard_error(score)
            each[str(env)] = Scalar(value, unit, len(score), estimator, error, better=better)  # type: ignore[arg-type]
        worst = (max if numbers else min)(each.values(), key=lambda scalar: scalar.value)
        return LogEntry(self.evaluate_on, scalars={"worst": worst, **each})
