"""AnnealedVAE: the limit in which it is the VAE, and the schedule of its capacity."""

import pytest
import torch

from frame.architectures.base import DiagonalNormal
from frame.common.errors import UserError
from frame.common.schedules import Coefficient, Linear
from frame.models.AnnealedVAE import AnnealedVAE
from frame.models.VAE import VAE
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def small(gamma: float, capacity: float | Coefficient) -> AnnealedVAE:
    torch.manual_seed(0)
    return AnnealedVAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), DiagonalNormal(3), gamma, capacity)


def test_without_capacity_it_is_the_vae() -> None:
    for gamma in (0.0, 1.0, 4.0):
        model = small(gamma, 0.0)
        vae = VAE(model.encoder, model.decoder, model.prior, beta=gamma)
        torch.manual_seed(1)
        ours = model(BATCH)
        torch.manual_seed(1)
        torch.testing.assert_close(ours, vae(BATCH))


def test_the_rate_is_pulled_to_the_capacity_from_both_sides() -> None:
    """d loss / d rate is gamma above C, -gamma below: the gradients differ by 2 gamma d rate / d mu."""
    below, above = small(3.0, 1000.0), small(3.0, 0.0)
    gradients = []
    for model in (below, above):
        torch.manual_seed(1)
        losses = model(BATCH)
        torch.testing.assert_close(losses["loss"], losses["distortion"] + 3 * (losses["rate"] - model.capacity()).abs())
        (gradient,) = torch.autograd.grad(losses["loss"], [dict(model.encoder.named_parameters())["head.linear.bias"]])
        gradients.append(gradient)
    torch.manual_seed(1)
    (rate,) = torch.autograd.grad(above(BATCH)["rate"], [dict(above.encoder.named_parameters())["head.linear.bias"]])
    torch.testing.assert_close(gradients[1] - gradients[0], 2 * 3 * rate)


def test_a_schedule_drives_the_capacity() -> None:
    model = small(1000.0, Linear(0.0, 25.0, over="100 iterations"))
    for iterations, nats in ((0, 0.0), (40, 10.0), (100, 25.0), (300, 25.0)):
        model.capacity.advance({"iterations": iterations})
        losses = model(BATCH)
        torch.testing.assert_close(losses["loss"], losses["distortion"] + 1000 * (losses["rate"] - nats).abs())


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="gamma=-1: it must be at least 0"):
        small(-1, 0.0)
    with pytest.raises(UserError, match="capacity=-2: it must be at least 0"):
        small(1.0, Linear(5.0, -2.0, over="3 epochs"))
