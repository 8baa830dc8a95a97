"""InfoGAN's codes: their distribution, their cross-entropies, and the bound by their entropy."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import DiagonalNormal
from frame.architectures.critics import MLPCritic
from frame.architectures.heads import DiagonalNormalHead
from frame.common.errors import UserError
from frame.evaluation.base import HasFeatures, Samples
from frame.evaluation.categories import HasCategories
from frame.models.InfoGAN import InfoGAN
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def model(z_dim: int = 4 + 10 + 2, categorical: nn.Module | None = None, **options: Any) -> InfoGAN:
    torch.manual_seed(0)
    return InfoGAN(
        digits.Generator(z_dim, [8]),
        MLPCritic(64, [16], n_out=8),
        MLPCritic(8, []),
        categorical or digits.Predictor(8),
        DiagonalNormalHead(8, 2),
        DiagonalNormal(4),
        **options,
    )


def test_latents_are_noise_a_category_and_continuous_codes() -> None:
    torch.manual_seed(0)
    noise, one_hot, u = model().latents(20000).split([4, 10, 2], dim=1)
    torch.testing.assert_close(torch.cov(noise.T), torch.eye(4), atol=0.05, rtol=0)
    assert ((one_hot == 0) | (one_hot == 1)).all() and (one_hot.sum(1) == 1).all()
    torch.testing.assert_close(one_hot.mean(0), torch.full((10,), 0.1), atol=0.01, rtol=0)
    assert u.min() >= -1 and u.max() <= 1
    torch.testing.assert_close(torch.cov(u.T), torch.eye(2) / 3, atol=0.01, rtol=0)


def test_the_codes_term_is_the_cross_entropy() -> None:
    """Row after row: -lambda_c log softmax(logits)[c] - lambda_u log N(u; mu, sigma^2), on top of the GAN's losses."""
    info = model(categorical_weight=0.7, continuous_weight=0.2)
    torch.manual_seed(1)
    z = info.latents(6)
    c, u = z[:, 4:14].argmax(1), z[:, 14:]
    features = info.features(info.generate(z))
    cross_entropy, nll, fooling, adversary = 0.0, 0.0, 0.0, 0.0
    for i in range(6):
        logits = info.adversary["categorical"](features[i : i + 1]).logits[0]
        cross_entropy += (logits.logsumexp(0) - logits[c[i]]).item() / 6
        q = info.adversary["continuous"](features[i : i + 1])
        for j in range(2):
            mu, sigma = q.mean[0, j].item(), q.stddev[0, j].item()
            nll += ((u[i, j].item() - mu) ** 2 / (2 * sigma**2) + math.log(sigma * math.sqrt(2 * math.pi))) / 6
        fake = torch.sigmoid(info.adversary["discriminator"](features[i : i + 1])).item()
        real = torch.sigmoid(info.adversary["discriminator"](info.features(BATCH["x"][i : i + 1]))).item()
        fooling -= math.log(fake) / 6
        adversary -= (math.log(real) + math.log(1 - fake)) / 6
    codes = 0.7 * cross_entropy + 0.2 * nll
    torch.manual_seed(1)
    losses = info(BATCH)
    assert losses["loss"].item() == pytest.approx(fooling + codes, rel=1e-4)
    assert losses["information"].item() == pytest.approx(math.log(10) - cross_entropy, rel=1e-4)
    assert losses["information_u"].item() == pytest.approx(2 * math.log(2) - nll, rel=1e-4)
    torch.manual_seed(1)
    assert info.compute_adversarial_loss(BATCH)["loss"].item() == pytest.approx(adversary + codes, rel=1e-4)


class Oracle(nn.Module):
    """Always right, with the given confidence: it sees what was drawn."""

    def __init__(self, sure: float) -> None:
        super().__init__()
        self.sure = sure
        self.drawn = torch.empty(0)

    def forward(self, features: Tensor) -> torch.distributions.Categorical:
        return torch.distributions.Categorical(logits=self.sure * self.drawn, validate_args=False)


@pytest.mark.parametrize("sure", [0.0, 1.0, 5.0, 100.0])
def test_the_information_is_at_most_the_codes_entropy(sure: float) -> None:
    oracle = Oracle(sure)
    info = model(categorical=oracle)
    torch.manual_seed(1)
    oracle.drawn = info.latents(6)[:, 4:14]
    torch.manual_seed(1)
    found = info(BATCH)["information"].item()
    # sure = 0 gives 0 nats; a large value gives H(c)
    assert found == pytest.approx(math.log(10) + sure - math.log(9 + math.exp(sure)), abs=1e-5)
    assert found <= math.log(10) + 1e-6


def test_without_weights_it_is_a_gan_and_q_learns_nothing() -> None:
    info = model(categorical_weight=0.0, continuous_weight=0.0)
    losses = info(BATCH)
    torch.testing.assert_close(losses["loss"], losses["fooling"])
    info.compute_adversarial_loss(BATCH)["loss"].backward()
    for name in ("categorical", "continuous"):
        assert all(p.grad is None or not p.grad.any() for p in info.adversary[name].parameters())


def test_q_belongs_to_the_adversary() -> None:
    info = model()
    theirs = {name.split(".")[1] for name, _ in info.named_parameters() if name.startswith("adversary.")}
    assert theirs == {"body", "discriminator", "categorical", "continuous"}


def test_categories_and_their_pictures() -> None:
    info = model()
    assert isinstance(info, HasCategories) and isinstance(info, Samples) and isinstance(info, HasFeatures)
    log_q = info.categories(BATCH["x"])
    torch.testing.assert_close(log_q.exp().sum(1), torch.ones(6))
    torch.manual_seed(2)
    pictures = info.sample_categories(2)
    torch.manual_seed(2)
    drawn = info.latents(2)
    z = drawn.repeat(10, 1)
    z[:, 4:14] = torch.eye(10).repeat_interleave(2, 0)
    torch.testing.assert_close(pictures.flatten(0, 1), info.decode(z).mean)
    assert pictures.shape == (10, 2, 1, 8, 8) and (pictures[3] - pictures[7]).abs().mean() > 1e-3


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match=r"z_dim=15 of the generator.*\[4, 10, 2\]"):
        model(15)
    with pytest.raises(UserError, match="n_categories=1"):
        model(n_categories=1)
    with pytest.raises(UserError, match="categorical_weight=-1"):
        model(categorical_weight=-1)
