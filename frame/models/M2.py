"""Semi-supervised variational autoencoder: a class y and a code z explain x, and y is latent where it is not given.

Kingma et al. 2014, "Semi-supervised learning with deep generative models" (1406.5298), model M2, eq. 2 and 5 to 9.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from frame.common.errors import UserError, at_least
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, EncoderModel, check_same, check_z_dim
from frame.probability.distributions import negative_log_prob, rsample
from frame.probability.divergences import kl_divergence


class M2(EncoderModel):
    """loss = w E[L(x, y)] + (1 - w) E[U(x)] + alpha E[-log q(y|x)], with labelled rows in 1 and 3, others in 2.

    L(x, y) >= -log p(x, y) and U(x) >= -log p(x) are bounds with one sample of z for each class, p(y) is uniform, and
    the sum over classes in U is exact. w is the share of labelled rows in the data.

    In U, the samples of all classes have the same noise, z = mu(x, y) + sigma(x, y) eps. The bound's mean is that of
    independent samples, and q(y|x) gets less noise, since it learns from the differences of classes.

    The paper's J^alpha (eq. 9) sums L and U over the N rows of the data, and its third term is a mean over labelled
    rows. This loss is J^alpha / N in nats per row, so alpha here is the paper's divided by N: 0.1 for its "0.1 N".

    `encode` and `reconstruct` take the most probable class of x. `features` are those of the classifier.

    Args:
        classifier: q(y|x), a Categorical.
        encoder: q(z|x, y).
        decoder: p(x|z, y).
        prior: p(z), called with y and the encoder; one that reads y is p(z|y).
        alpha: weight of the classifier's loss on labelled rows, at least 0.
        n_labelled, n_unlabelled: rows of the data with and without labels, which give w.
        n_classes: values of y.
        feedback: share, in [0, 1], of U's gradient that reaches q(y|x), 1 in the paper; it may follow a schedule. While
            it is 0, q(y|x) learns from labels alone, and the other networks from its predictions.
        beta: weight of the rates in L and U, KL(q(z|x, y) || p(z)) - log p(y) and KL(q(z|x, y) q(y|x) || p(z) p(y)), 1
            in the paper. Pixels that depend on each other count several times in the distortion; a beta above 1 makes
            up for that. 'labelled' and 'unlabelled' are logged without it.
        init_std: weights of the classifier, encoder and decoder start at N(0, init_std^2), and their biases at 0; None
            leaves them as the networks are. In the paper it is 0.001: at first no class explains x better than another.

    Raises:
        UserError: a number is out of range, or the networks disagree on z_dim or n_classes.
    """

    needs = ("x", "y", "unlabelled.x")

    def __init__(
        self,
        classifier: ConditionalDistribution,
        encoder: ConditionalDistribution,
        decoder: ConditionalDistribution,
        prior: ConditionalDistribution,
        alpha: float | Coefficient,
        n_labelled: int,
        n_unlabelled: int,
        n_classes: int = 10,
        feedback: float | Coefficient = 1.0,
        beta: float | Coefficient = 1.0,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        at_least(0, init_std=init_std)
        at_least(1, n_labelled=n_labelled, n_unlabelled=n_unlabelled)
        at_least(2, n_classes=n_classes)
        check_z_dim(encoder=encoder, decoder=decoder, prior=prior)
        self.classifier, self.encoder, self.decoder, self.prior = classifier, encoder, decoder, prior
        self.alpha = coefficient("alpha", alpha)
        self.feedback = coefficient("feedback", feedback)
        if self.feedback.bounds[1] > 1:
            raise UserError(f"feedback={self.feedback.bounds[1]:g}: it must lie in [0, 1]")
        self.beta = coefficient("beta", beta)
        self.n_classes = n_classes
        check_same("n_classes", encoder=encoder, decoder=decoder, prior=prior, model=self)
        self.share = n_labelled / (n_labelled + n_unlabelled)
        self.init_std = init_std
        self.reset_parameters()

    def reset_parameters(self) -> None:
        networks = (self.classifier, self.encoder, self.decoder) if self.init_std is not None else ()
        for layer in (layer for network in networks for layer in network.modules()):
            if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
                nn.init.normal_(layer.weight, std=self.init_std or 0.0)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        x, y = batch["x"], batch["y"]
        # L(x, y) = -E[log p(x|z, y)] + KL(q(z|x, y) || p(z)) - log p(y), eq. 6
        distortion, rate = (term.mean() for term in self.distortion_and_rate(x, y))
        rate = rate + math.log(self.n_classes)
        u = batch["unlabelled"]["x"]
        log_q = self.predict(u)
        log_q = log_q.detach() + self.feedback() * (log_q - log_q.detach())
        bound = {name: term.mean() for name, term in self._bound(u, log_q).items()}
        cross_entropy = -self.classifier(x).log_prob(y).mean()
        beta = self.beta()
        labelled, unlabelled = distortion + beta * rate, bound["distortion"] + beta * bound["rate"]
        loss = self.share * labelled + (1 - self.share) * unlabelled + self.alpha() * cross_entropy
        return {
            "loss": loss,
            "labelled": distortion + rate,
            "unlabelled": -bound["elbo"],
            "cross_entropy": cross_entropy,
        }

    def distortion_and_rate(self, x: Tensor, y: Tensor, n_blocks: int = 1) -> tuple[Tensor, Tensor]:
        """-log p(x|z, y) for one z ~ q(z|x, y), and KL(q(z|x, y) || p(z)); both [B], nats. Blocks share their noise."""
        q_z = self.encoder(x, y)
        z = rsample(q_z, n_blocks=n_blocks)
        return negative_log_prob(self.decoder(z, y), x), kl_divergence(q_z, self.p_z(y), z)

    def log_likelihood_bound(self, x: Tensor) -> dict[str, Tensor]:
        """'elbo' = -U(x) <= log p(x), 'distortion' and 'rate', each [B], nats; the rate has those of z and of y."""
        return self._bound(x, self.predict(x))

    def _bound(self, x: Tensor, log_q: Tensor) -> dict[str, Tensor]:
        """`log_likelihood_bound` for log q(y|x), [B, n_classes]."""
        n, k = len(x), self.n_classes
        # each row with each class, class after class: [K * B, ...]
        every_x = x.unsqueeze(0).expand(k, *x.shape).flatten(0, 1)
        every_y = torch.arange(k, device=x.device).unsqueeze(1).expand(k, n).flatten()
        distortion, rate = (term.view(k, n).T for term in self.distortion_and_rate(every_x, every_y, k))  # [B, K]
        q = log_q.exp()
        # U(x) = sum over y of q(y|x) L(x, y) - H(q(y|x)), eq. 7, and KL(q(y|x) || p(y)) = log K - H(q(y|x))
        expected = (q * distortion).sum(1)
        paid = (q * (rate + log_q)).sum(1) + math.log(k)
        return {"elbo": -expected - paid, "distortion": expected, "rate": paid}

    def p_z(self, y: Tensor) -> Distribution:
        """p(z), batch_shape (), or p(z|y), batch_shape (B,)."""
        return self.prior(y, encoder=self.encoder)

    def predict(self, x: Tensor) -> Tensor:
        """log q(y|x), [B, n_classes]."""
        return self.classifier(x).logits

    def features(self, x: Tensor, *conditions: Tensor) -> Tensor:
        """The classifier's features of x, [B, D].

        Raises:
            UserError: the classifier has none.
        """
        network: Any = self.classifier
        if not hasattr(network, "features"):
            raise UserError(f"{type(network).__name__} has no features(x): make it an architectures.base.Encoder")
        found: Tensor = network.features(x)
        return found

    def encode(self, x: Tensor, *conditions: Tensor) -> Distribution:
        """q(z|x, y) at the most probable class y of x, batch_shape (B,)."""
        return self.encoder(x, self.predict(x).argmax(1))

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        """Reconstructions of x, [B, *shape], from its most probable class, by samples or means of z and x."""
        y = self.predict(x).argmax(1)
        q_z = self.encoder(x, y)
        p_x = self.decoder(rsample(q_z) if sample_latents else q_z.mean, y)
        return p_x.sample() if sample_images else p_x.mean

    def sample(self, n_samples: int, sample_images: bool = False) -> Tensor:
        """[n_samples, *shape], class after class: with 100 samples of 10 classes in a square, each row is a class."""
        y = torch.arange(n_samples, device=self.alpha().device) * self.n_classes // n_samples
        p_z = self.p_z(y)
        p_x = self.decoder(p_z.sample() if p_z.batch_shape else p_z.sample((n_samples,)), y)
        return p_x.sample() if sample_images else p_x.mean
