"""The mean absolute error of reconstructions, to be changed into a measure of your own."""

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Evaluation, LogEntry, Reconstructs, Scalar, given
from frame.measures.statistics import mean_and_standard_error


class Mine(Evaluation):
    """|x - reconstruction|, a mean over pixels and pictures; grey values in [0, 1].

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1.
    """

    needs = (Reconstructs,)  # capabilities of the model: a model without them is refused before training
    needs_data = ("x",)

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, Reconstructs)

        def of(batch: Batch) -> dict[str, Tensor]:
            return {"error": (batch["x"] - model.reconstruct(*given(model, batch))).abs().flatten(1).mean(1)}

        # batch by batch; in a run of several processes they share the batches
        values = self.over_rows(model, data, self.n_samples, of)["error"]  # [N]
        mean, standard_error = mean_and_standard_error(values)
        scalar = Scalar(
            mean,
            unit="grey value",
            n_samples=len(values),
            estimator="mean over pixels and pictures; reconstructed through the mean code",
            standard_error=standard_error,
            better="less",
            layer="mean",
        )
        return LogEntry(self.evaluate_on, {"": scalar})
