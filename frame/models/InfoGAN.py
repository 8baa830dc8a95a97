"""GAN with codes that a network can read from the generated pictures.

Chen et al. 2016, "InfoGAN" (1606.03657), eq. 5 and 6.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.common.schedules import Coefficient, coefficient
from frame.data.base import Batch
from frame.models.base import ConditionalDistribution, GenerativeAdversarialModel, discriminate


class InfoGAN(GenerativeAdversarialModel):
    """Both players' GAN losses, each minus lambda_c E[log Q(c|x)] + lambda_u E[log Q(u|x)] for x = G(noise, c, u).

    c is one of `n_categories`, all equally probable, and u lies in [-1, 1]^n_continuous. 'information', log
    n_categories plus the mean of log Q(c|x), is a lower bound on I(c; x) in expectation. Nats, means over the batch.

    Both players minimise the term of the codes. Q reads the discriminator's body, whose weights can belong to one
    optimizer only, so Q is updated with the adversary.

    Args:
        generator: G, all mass at one picture; its z_dim is the sum of the sizes of noise, one-hot c and u.
        body: x [B, *shape] -> features [B, n], of discriminator and Q.
        discriminator: features -> logits d(x) [B].
        categorical: features -> Q(c|x), a Categorical.
        continuous: features -> Q(u|x), a diagonal Gaussian.
        prior: prior of the noise.
        n_categories, n_continuous: sizes of c and u.
        categorical_weight, continuous_weight: lambda_c and lambda_u.

    Raises:
        UserError: a number is out of range, or the generator's z_dim does not fit.
    """

    adversary: nn.ModuleDict

    def __init__(
        self,
        generator: ConditionalDistribution,
        body: nn.Module,
        discriminator: nn.Module,
        categorical: nn.Module,
        continuous: nn.Module,
        prior: ConditionalDistribution,
        n_categories: int = 10,
        n_continuous: int = 2,
        categorical_weight: float | Coefficient = 1.0,
        continuous_weight: float | Coefficient = 0.1,
    ) -> None:
        parts = {"body": body, "discriminator": discriminator, "categorical": categorical, "continuous": continuous}
        super().__init__(generator, nn.ModuleDict(parts), prior)
        at_least(2, n_categories=n_categories)
        at_least(1, n_continuous=n_continuous)
        self.sizes = [prior().event_shape[0], n_categories, n_continuous]  # sizes of noise, one-hot c, u
        if generator.z_dim != sum(self.sizes):
            raise UserError(
                f"z_dim={generator.z_dim} of the generator: noise, c and u have {self.sizes}, give their sum"
            )
        self.categorical_weight = coefficient("categorical_weight", categorical_weight)
        self.continuous_weight = coefficient("continuous_weight", continuous_weight)

    def latents(self, n_samples: int) -> Tensor:
        """Noise, one-hot c and u side by side, [n_samples, z_dim]; all c are equally probable."""
        noise = super().latents(n_samples)
        _, k, d = self.sizes
        c = torch.rand(n_samples, k, device=noise.device).argmax(1)
        one_hot = c.unsqueeze(1) == torch.arange(k, device=noise.device)
        u = 2 * torch.rand(n_samples, d, device=noise.device) - 1
        return torch.cat([noise, one_hot.to(noise.dtype), u], dim=1)

    def recognise(self, features: Tensor, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The term of the codes in the loss, and lower bounds on I(c; x) and I(u; x)."""
        _, one_hot, u = z.split(self.sizes, dim=1)
        log_q_c = (self.adversary["categorical"](features).logits * one_hot).sum(1).mean()
        log_q_u = self.adversary["continuous"](features).log_prob(u).mean()
        loss = -self.categorical_weight() * log_q_c - self.continuous_weight() * log_q_u
        # I(c; x) >= H(c) + E[log Q(c|x)], with H(c) = log n_categories and H(u) = n_continuous log 2
        known = {
            "information": math.log(self.sizes[1]) + log_q_c,
            "information_u": self.sizes[2] * math.log(2) + log_q_u,
        }
        return loss, known

    def compute_loss(self, batch: Batch) -> dict[str, Tensor]:
        z = self.latents(len(batch["x"]))
        features = self.features(self.generate(z))
        codes, known = self.recognise(features, z)
        # -log D(x) = softplus(-d(x))
        fooling = F.softplus(-self.adversary["discriminator"](features)).mean()
        return {"loss": fooling + codes, "fooling": fooling, **known}

    def compute_adversarial_loss(self, batch: Batch) -> dict[str, Tensor]:
        z = self.latents(len(batch["x"]))
        features = self.features(self.generate(z))
        logits = self.adversary["discriminator"]
        found = discriminate(real=logits(self.features(batch["x"])), fake=logits(features))
        codes, _ = self.recognise(features, z)
        return {**found, "loss": found["loss"] + codes}

    def features(self, x: Tensor) -> Tensor:
        """The features that discriminator and Q read, [B, n]."""
        features: Tensor = self.adversary["body"](x)
        return features

    def categories(self, x: Tensor) -> Tensor:
        """log Q(c|x), [B, n_categories]."""
        log_q: Tensor = self.adversary["categorical"](self.features(x)).logits
        return log_q

    def sample_categories(self, n_samples: int) -> Tensor:
        """G(noise, c, u) for each category and the same `n_samples` noise and u: [n_categories, n_samples, *shape]."""
        noise, _, u = self.latents(n_samples).split(self.sizes, dim=1)
        k = self.sizes[1]
        c = torch.eye(k, device=u.device).repeat_interleave(n_samples, 0)  # [k * n_samples, k]
        # in one batch, because a generator may have batch norm
        return self.generate(torch.cat([noise.repeat(k, 1), c, u.repeat(k, 1)], dim=1)).unflatten(0, (k, n_samples))
