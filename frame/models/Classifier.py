"""Plain classifier: the baseline of methods that learn from labels."""

from torch import Tensor
from torch.distributions import Distribution

from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EncoderModel, check_z_dim, prediction
from frame.probability.distributions import Delta


class Classifier(EncoderModel):
    """loss = -log p(y | z), with z the mean of q(z|x): cross-entropy with VIB's encoder, without its noise.

    Nats per sample, a mean over the batch. The encoder's scales are not used and not trained.

    Args:
        encoder: q(z|x), of which only the mean is used.
        predictor: p(y|z), a Categorical; for numbers y a Normal.

    Raises:
        UserError: the networks disagree on z_dim.
    """

    needs = ("x", "y")

    def __init__(self, encoder: ConditionalDistribution, predictor: ConditionalDistribution) -> None:
        super().__init__()
        check_z_dim(encoder=encoder, predictor=predictor)
        self.encoder = encoder
        self.predictor = predictor

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        p_y_given_z = self.predictor(self.encoder(batch["x"]).mean)
        return {"loss": -p_y_given_z.log_prob(batch["y"]).mean()}

    def encode(self, x: Tensor, *conditions: Tensor) -> Distribution:
        """All mass at the mean of q(z|x), batch_shape (B,)."""
        return Delta(self.encoder(x).mean)

    def predict(self, x: Tensor) -> Tensor:
        """log p(y|z) [B, n_classes] at the mean z of q(z|x); for numbers y their mean, [B]."""
        return prediction(self.predictor(self.encoder(x).mean))
