"""Mine's loss against what it says it is, and a few steps downhill."""

import pytest
import torch
from torch import Tensor

from frame.architectures.base import DiagonalNormal, MLPDecoder, MLPEncoder
from frame.commands.templates.model import Mine
from frame.common.errors import UserError


def build(weight: float) -> Mine:
    torch.manual_seed(0)
    shape, z_dim = (1, 4, 4), 3
    encoder, decoder = MLPEncoder(shape, z_dim, [8]), MLPDecoder(shape, z_dim, [8])
    return Mine(encoder, decoder, DiagonalNormal(z_dim), weight)


def losses(weight: float, x: Tensor) -> dict[str, Tensor]:
    model = build(weight)
    torch.manual_seed(1)  # the same noise each time
    found: dict[str, Tensor] = model({"x": x})
    return found


def test_the_loss_is_the_sum_that_its_docstring_says() -> None:
    x = torch.rand(5, 1, 4, 4)
    for weight in (0.0, 1.0, 3.0):
        found = losses(weight, x)
        torch.testing.assert_close(found["loss"], found["distortion"] + weight * found["rate"])


def test_the_rate_is_the_closed_form() -> None:
    x = torch.rand(5, 1, 4, 4)
    q_z_given_x = build(1.0).encode(x)
    mu, variance = q_z_given_x.mean, q_z_given_x.variance
    # KL(N(mu, sigma^2) || N(0, 1)) = (mu^2 + sigma^2 - 1 - log sigma^2) / 2 for each latent
    rate = (mu.square() + variance - 1 - variance.log()).sum(1) / 2
    torch.testing.assert_close(losses(1.0, x)["rate"], rate.mean())


def test_a_few_steps_lead_downhill() -> None:
    model, x = build(1.0), torch.rand(16, 1, 4, 4).round()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    history = []
    for _ in range(100):
        loss = model({"x": x})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-10:]) < 0.95 * sum(history[:10])


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(UserError, match="weight"):
        build(-1.0)
