"""Plain classifier: the baseline of methods that learn from labels."""

from torch import Tensor

from frame.data.base import Batch
from frame.models.base import MeanClassifier


class Classifier(MeanClassifier):
    """loss = -log p(y | z), with z the mean of q(z|x): cross-entropy with VIB's encoder, without its noise.

    Nats per sample, a mean over the batch. The encoder's scales are not used and not trained.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z), a Categorical; for numbers y a Normal, for several labels Bernoullis.

    Raises:
        UserError: the networks disagree on z_dim.
    """

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        p_y_given_z = self.predictor(self.encoder(batch["x"]).mean)
        return {"loss": -p_y_given_z.log_prob(batch["y"]).mean()}
