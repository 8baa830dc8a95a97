"""Multi-view InfoMax.

Ji et al. 2019 and Bachman et al. 2019 maximise the information between codes of two views. It is the baseline of
Federici et al. 2020 (2002.07017): the multi-view information bottleneck with beta = 0.
"""

from torch import Tensor

from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EncoderModel, two_views
from frame.probability.distributions import rsample
from frame.probability.estimators import InformationEstimator, check_maximised


class MVInfoMax(EncoderModel):
    """loss = -I(z1; z2), with z1 ~ q(z|v1) and z2 ~ q(z|v2) of two views v1 and v2, and one encoder for both.

    Nats per sample. `loss` is the estimator's own loss instead of -I. For JSD that is not an information, but
    'information' is.

    Args:
        encoder: q(z|v).
        estimator: estimator of I(z1; z2).

    Raises:
        UserError: the estimator is an upper bound; from the loss, there are not two views.
    """

    needs = ("views",)
    least_rows = 2

    def __init__(self, encoder: ConditionalDistribution, estimator: InformationEstimator) -> None:
        super().__init__()
        check_maximised(estimator)
        self.encoder = encoder
        self.estimator = estimator

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        q_z_given_v1, q_z_given_v2 = (self.encoder(view) for view in two_views(batch))
        z1, z2 = rsample(q_z_given_v1), rsample(q_z_given_v2)
        found = self.estimator(z1, z2)
        return {"loss": found["loss"], "information": found["information"]}
