"""GAN's two losses by hand, and their values at chance."""

import math

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import DiagonalNormal, UniformCube
from frame.architectures.critics import MLPCritic
from frame.common.errors import UserError
from frame.evaluation.base import Decodes, Encodes, Samples
from frame.models.GAN import GAN
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def generator(z_dim: int = 3) -> digits.Generator:
    return digits.Generator(z_dim, [8])


def model() -> GAN:
    torch.manual_seed(0)
    return GAN(generator(), MLPCritic(64, [8]), DiagonalNormal(3))


class Constant(nn.Module):
    """The same logit for each picture."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), self.logit)


def test_losses_are_those_of_the_paper() -> None:
    """Row after row: -log D(x) - log(1 - D(G(z))) for one player, -log D(G(z)) for the other."""
    gan = model()
    torch.manual_seed(1)
    z = torch.randn(6, 3)  # the model draws the same
    pictures = gan.generator(z).mean  # together: its layers are normalised over the batch
    adversary, mine = 0.0, 0.0
    for x, picture in zip(BATCH["x"], pictures, strict=True):
        real = torch.sigmoid(gan.adversary(x[None])).item()
        fake = torch.sigmoid(gan.adversary(picture[None])).item()
        adversary -= (math.log(real) + math.log(1 - fake)) / 6
        mine -= math.log(fake) / 6
    torch.manual_seed(1)
    assert gan.compute_adversarial_loss(BATCH)["loss"].item() == pytest.approx(adversary, rel=1e-5)
    torch.manual_seed(1)
    assert gan(BATCH)["loss"].item() == pytest.approx(mine, rel=1e-5)


def test_losses_at_chance() -> None:
    gan = GAN(generator(), Constant(0.0), DiagonalNormal(3))
    found = gan.compute_adversarial_loss(BATCH)
    assert found["loss"].item() == pytest.approx(2 * math.log(2))
    assert found["D_real"].item() == found["D_fake"].item() == 0.5
    assert gan(BATCH)["loss"].item() == pytest.approx(math.log(2))


def test_the_generator_has_a_gradient_against_a_confident_discriminator() -> None:
    """d = -50: log(1 - D) is flat there, -log D = 50 has slope 1."""
    gan = GAN(generator(), Constant(-50.0), DiagonalNormal(3))
    assert gan(BATCH)["loss"].item() == pytest.approx(50)
    logits = torch.tensor([-50.0], requires_grad=True)
    gan.adversary.forward = lambda x: logits.expand(len(x))
    gan(BATCH)["loss"].backward()
    assert logits.grad is not None and logits.grad.item() == pytest.approx(-1)


def test_samples_are_pictures_of_the_prior() -> None:
    gan = model()
    torch.manual_seed(2)
    pictures = gan.sample(5)
    assert pictures.shape == (5, 1, 8, 8) and 0 < pictures.min() and pictures.max() < 1
    torch.manual_seed(2)
    torch.testing.assert_close(pictures, gan.decode(torch.randn(5, 3)).mean)
    assert isinstance(gan, Samples) and isinstance(gan, Decodes) and not isinstance(gan, Encodes)


def test_the_uniform_prior_fills_its_cube() -> None:
    """U[-1, 1] has mean 0 and variance 1/3; every coordinate by itself."""
    torch.manual_seed(0)
    z = UniformCube(2)().sample((20000,))
    assert z.shape == (20000, 2) and z.min() >= -1 and z.max() <= 1
    torch.testing.assert_close(torch.cov(z.T), torch.eye(2) / 3, atol=0.01, rtol=0)
    torch.testing.assert_close(UniformCube(2)().log_prob(z[0]), torch.tensor(-2 * math.log(2)))


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match=r"z_dim differs \(generator 3, prior 4\)"):
        GAN(generator(), MLPCritic(64, [8]), DiagonalNormal(4))
    with pytest.raises(UserError, match="z_dim=0"):
        UniformCube(0)
