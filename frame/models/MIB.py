"""Multi-view information bottleneck.

Federici et al. 2020, "Learning robust representations via multi-view information bottleneck" (2002.07017), eq. 6 with
one encoder for both views. The code keeps the information that the views share and forgets the rest.
"""

from torch import Tensor

from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EncoderModel, two_views
from frame.probability.distributions import rsample
from frame.probability.divergences import kl_divergence
from frame.probability.estimators import InformationEstimator, check_maximised


class MIB(EncoderModel):
    """loss = -I(z1; z2) + beta * skl, with skl = (KL(q(z|v1) || q(z|v2)) + KL(q(z|v2) || q(z|v1))) / 2.

    Nats per sample, a mean over the batch. One encoder reads the views v1 and v2, and z is sampled for each; the
    paper's v and p(z|v) are `views` and q(z|v) here. `loss` has the estimator's own loss instead of -I; for JSD that is
    not an information, but 'information' is. The KL is analytic between diagonal Gaussians, else sampled; the
    authors' code always samples it.

    Args:
        encoder: q(z|v).
        estimator: estimator of I(z1; z2).
        beta: weight of skl, at least 0.

    Raises:
        UserError: beta is negative, or the estimator is an upper bound; from the loss, there are not two views.
    """

    needs = ("views",)
    least_rows = 2

    def __init__(
        self, encoder: ConditionalDistribution, estimator: InformationEstimator, beta: float | Coefficient
    ) -> None:
        super().__init__()
        check_maximised(estimator)
        self.encoder = encoder
        self.estimator = estimator
        self.beta = coefficient("beta", beta)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        q_z_given_v1, q_z_given_v2 = (self.encoder(view) for view in two_views(batch))
        z1, z2 = rsample(q_z_given_v1), rsample(q_z_given_v2)
        found = self.estimator(z1, z2)
        # D_SKL = (KL(q1 || q2) + KL(q2 || q1)) / 2
        skl = (kl_divergence(q_z_given_v1, q_z_given_v2, z1) + kl_divergence(q_z_given_v2, q_z_given_v1, z2)) / 2
        loss = found["loss"] + self.beta() * skl.mean()
        return {"loss": loss, "information": found["information"], "skl": skl.mean()}
