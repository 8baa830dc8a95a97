"""The mutual information of two views, by an estimator alone.

Poole et al. 2019, "On variational bounds of mutual information" (1905.06922), compare estimators in this way.
"""

from torch import Tensor

from frame.data.base import Batch
from frame.models.base import Model, two_views
from frame.probability.estimators import InformationEstimator


class InformationEstimation(Model):
    """loss = the loss that fits the estimator; 'information' is its estimate on the batch, in nats.

    Args:
        estimator: estimator of I(v1; v2) for the batch's views v1 and v2.

    Raises:
        UserError: from the loss, there are not two views.
    """

    needs = ("views",)
    least_rows = 2

    def __init__(self, estimator: InformationEstimator) -> None:
        super().__init__()
        self.estimator = estimator

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        found = self.estimator(*two_views(batch))
        return {"loss": found["loss"], "information": found["information"]}

    def information(self, x: Tensor, y: Tensor) -> Tensor:
        """An estimate of I(x; y) from paired rows [B, ...], shape (), nats."""
        found: Tensor = self.estimator(x, y)["information"]
        return found

    @property
    def information_bound(self) -> str:
        """'lower', 'upper' or 'neither'."""
        return self.estimator.bound

    def information_limit(self, n: int) -> float:
        """The largest possible estimate from n rows, in nats."""
        return self.estimator.limit(n)
