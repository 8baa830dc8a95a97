"""How dependent the latents are on one another."""

from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Encodes, Evaluation, LogEntry, Scalar
from frame.evaluation.codes import codes_of
from frame.measures.total_correlation import gaussian_total_correlation


class TotalCorrelationEvaluation(Evaluation):
    """Total correlation of the codes of a split in nats: 'sampled', one z ~ q(z|x) per picture, and 'mean', E[z|x].

    It is the Gaussian estimate from the full covariance, whatever estimate the model trains with.

    Args:
        evaluate_on: split.
        n_samples: pictures of the split; all of them if None or if there are fewer.

    Raises:
        UserError: n_samples < 1.
        NoNumber: from `evaluate`, there are too few codes, or a latent is constant.
    """

    needs = (Encodes,)
    numbers = {"sampled": "nats", "mean": "nats"}

    def __init__(self, evaluate_on: str = "valid", n_samples: int | None = 10_000) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_samples=n_samples)
        self.n_samples = n_samples

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        samples, means = (
            codes_of(model, data, self.evaluate_on, layer, self.n_samples).codes for layer in ("sample", "mean")
        )
        return LogEntry(
            self.evaluate_on,
            scalars={
                "sampled": _total_correlation(samples, "sample", "one z ~ q(z|x) a picture"),
                "mean": _total_correlation(means, "mean", "means of q(z|x)"),
            },
        )


def _total_correlation(codes: Tensor, layer: str, which: str) -> Scalar:
    tc, error = gaussian_total_correlation(codes)
    estimator = f"Gaussian with the full covariance of {which}"
    return Scalar(tc, "nats", len(codes), estimator, error, layer, better="less")
