"""Distance between reconstructions and originals."""

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import Batch, DataSet
from frame.evaluation.base import Evaluation, LogEntry, Reconstructs, Scalar, given
from frame.measures.statistics import mean_and_standard_error


class ReconstructionErrorEvaluation(Evaluation):
    """Mean squared error divided by the data's variance; also 'mse', 'variance' and 'unexplained'.

    The variance is that of all values of these pictures around their overall mean: reconstructing every picture as that
    mean has the error 1. 'unexplained' is 1 - R^2: it divides by the variance around the mean picture instead.
    x is in [0, 1]; latents and pictures are means, not samples.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1.
    """

    needs = (Reconstructs,)
    numbers = {
        "": "of the variance",
        "mse": "squared value",
        "unexplained": "of the variance",
        "variance": "squared value",
    }

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = None) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, Reconstructs)

        def of(batch: Batch) -> dict[str, Tensor]:
            x = batch["x"].double()
            error = (model.reconstruct(*given(model, batch)) - x).square().flatten(start_dim=1).mean(1)
            # sums over the batch, of each pixel
            return {"error": error, "x": x.sum(0, keepdim=True), "square": x.square().sum(0, keepdim=True)}

        found = self.over_rows(model, data, self.n_samples, of, batch_size=256)
        n = len(found["error"])
        mean, square = found["x"].sum(0) / n, found["square"].sum(0) / n
        variance = (square.mean() - mean.mean().square()).item()
        around_mean_picture = (square - mean.square()).mean().item()
        mse, standard_error = mean_and_standard_error(found["error"])
        estimator = "mean over values and rows of (x - reconstruct(x))^2, through means"

        def scaled(by: float, unit: str, over: str = "") -> Scalar:
            return Scalar(mse / by, unit, n, estimator + over, standard_error / by, better="less")

        return LogEntry(
            self.evaluate_on,
            scalars={
                "": scaled(variance, "of the variance", ", over that of all values around their mean"),
                "mse": scaled(1.0, "squared value"),
                "unexplained": scaled(around_mean_picture, "of the variance", ", over that around the mean row"),
                "variance": Scalar(variance, "squared value", n, "of all values around their mean", better=""),
            },
        )
