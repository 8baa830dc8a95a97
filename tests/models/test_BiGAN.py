"""BiGAN: losses by hand, the two pairs swapped, and its encoder."""

import math

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import UniformCube
from frame.architectures.critics import MLPCritic
from frame.common.errors import UserError
from frame.evaluation.base import BoundsLikelihood, Encodes, HasFeatures, Reconstructs, Samples
from frame.models.BiGAN import BiGAN
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def model(discriminator: nn.Module | None = None) -> BiGAN:
    torch.manual_seed(0)
    encoder = digits.Encoder(3, [8], deterministic=True)
    generator = digits.Generator(3, [8])
    return BiGAN(encoder, generator, discriminator or MLPCritic(67, [8]), UniformCube(3))


def test_losses_are_those_of_the_paper() -> None:
    """Row after row, from D = sigmoid(d) of (x, E(x)) and of (G(z), z)."""
    bigan = model()
    torch.manual_seed(1)
    z = 2 * torch.rand(6, 3) - 1
    pictures = bigan.generator(z).mean  # together: its layers are normalised over the batch
    adversary, mine = 0.0, 0.0
    for x, row, picture in zip(BATCH["x"], z, pictures, strict=True):
        real = torch.sigmoid(bigan.adversary(x[None], bigan.encoder(x[None]).mean)).item()
        fake = torch.sigmoid(bigan.adversary(picture[None], row[None])).item()
        adversary -= (math.log(real) + math.log(1 - fake)) / 6
        mine -= (math.log(1 - real) + math.log(fake)) / 6
    torch.manual_seed(1)
    assert bigan.compute_adversarial_loss(BATCH)["loss"].item() == pytest.approx(adversary, rel=1e-5)
    torch.manual_seed(1)
    assert bigan(BATCH)["loss"].item() == pytest.approx(mine, rel=1e-5)


class Negative(nn.Module):
    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, *pair: Tensor) -> Tensor:
        return -self.critic(*pair)


def test_swapping_the_pairs_swaps_the_losses() -> None:
    """-d labels the other pair as real, so each player's loss becomes the other's."""
    bigan = model()
    turned = BiGAN(bigan.encoder, bigan.generator, Negative(bigan.adversary), bigan.prior)
    losses = []
    for one, other in ((bigan, turned), (turned, bigan)):
        torch.manual_seed(1)
        mine = one(BATCH)["loss"]
        torch.manual_seed(1)
        losses.append((mine, other.compute_adversarial_loss(BATCH)["loss"]))
    for mine, theirs in losses:
        torch.testing.assert_close(mine, theirs)
    assert not torch.allclose(losses[0][0], losses[1][0])


def test_losses_at_chance() -> None:
    discriminator = MLPCritic(67, [])
    for parameter in discriminator.parameters():
        nn.init.zeros_(parameter)
    bigan = model(discriminator)
    assert bigan(BATCH)["loss"].item() == pytest.approx(2 * math.log(2))
    assert bigan.compute_adversarial_loss(BATCH)["loss"].item() == pytest.approx(2 * math.log(2))


def test_the_code_is_deterministic_and_the_generator_decodes_it() -> None:
    bigan, x = model(), BATCH["x"]
    q = bigan.encode(x)
    assert q.batch_shape == (6,) and q.event_shape == (3,)
    assert torch.equal(q.sample(), q.mean) and not q.variance.any()
    torch.testing.assert_close(bigan.encoder.head.linear(bigan.features(x)), q.mean)  # type: ignore[union-attr, operator]
    again = bigan.reconstruct(x)
    torch.testing.assert_close(again, bigan.decode(q.mean).mean)
    assert again.shape == x.shape
    torch.testing.assert_close(again, bigan.reconstruct(x, sample_latents=True))


def test_capabilities() -> None:
    for capability in (Encodes, HasFeatures, Reconstructs, Samples):
        assert isinstance(model(), capability)
    assert not isinstance(model(), BoundsLikelihood)


def test_errors_are_named() -> None:
    encoder = digits.Encoder(4, [8], deterministic=True)
    generator = digits.Generator(3, [8])
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 4, generator 3, prior 3\)"):
        BiGAN(encoder, generator, MLPCritic(67, [8]), UniformCube(3))
