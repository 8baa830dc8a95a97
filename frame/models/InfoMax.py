"""InfoMax: maximises the information of a code about its input.

Linsker 1988, "Self-organization in a perceptual network"; with an estimator that is trained beside the encoder: Hjelm
et al. 2019, "Learning deep representations by mutual information estimation and maximization" (1808.06670), section
3.1, only the global term.
"""

from torch import Tensor

from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EncoderModel
from frame.probability.distributions import rsample
from frame.probability.estimators import InformationEstimator, check_maximised


class InfoMax(EncoderModel):
    """loss = -I(x; z), with z ~ q(z|x).

    Nats per sample. `loss` is the estimator's own loss instead of -I. For JSD that is not an information, but
    'information' is. Hjelm et al. add local terms and a prior, and their encoder is deterministic.

    Args:
        encoder: q(z|x).
        estimator: estimator of I(x; z).

    Raises:
        UserError: the estimator is an upper bound.
    """

    def __init__(self, encoder: ConditionalDistribution, estimator: InformationEstimator) -> None:
        super().__init__()
        check_maximised(estimator)
        self.encoder = encoder
        self.estimator = estimator

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z = rsample(self.encoder(batch["x"]))
        found = self.estimator(batch["x"], z)
        return {"loss": found["loss"], "information": found["information"]}
