"""How often the most probable class is the right one."""

from torch import nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Declaration, Evaluation, LogEntry, Predicts, Scalar
from frame.evaluation.predictions import predictions
from frame.measures.statistics import accuracy, mean_and_standard_error


class AccuracyEvaluation(Evaluation):
    """Accuracy and 'error' in %, and 'cross_entropy', -log p(y|x) in nats, of the model's `predict`.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1.
    """

    needs = (Predicts,)
    needs_data = ("x", "y")
    hidden = ("y",)

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def declare(self, model: nn.Module, data: DataSet) -> Declaration:
        numbers = {"": "%", "error": "%", "cross_entropy": f"nats per {data.row}"}
        return Declaration(self.evaluate_on, numbers)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        log_p, y = predictions(model, data, self.evaluate_on, self.n_samples)
        right, standard_error = accuracy(log_p, y)
        cross_entropy, cross_entropy_error = mean_and_standard_error(-log_p.gather(1, y.unsqueeze(1)).squeeze(1))
        n = len(y)
        estimator = "most probable class of predict()"
        return LogEntry(
            self.evaluate_on,
            scalars={
                "": Scalar(100 * right, "%", n, estimator, 100 * standard_error),
                "error": Scalar(100 * (1 - right), "%", n, estimator, 100 * standard_error, better="less"),
                "cross_entropy": Scalar(
                    cross_entropy,
                    f"nats per {data.row}",
                    n,
                    "-log of predict() at the label",
                    cross_entropy_error,
                    better="less",
                ),
            },
        )
