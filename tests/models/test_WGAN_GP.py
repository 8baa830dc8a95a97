"""The gradient penalty against closed forms, and its gradient against finite differences."""

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import DiagonalNormal
from frame.architectures.critics import MLPCritic
from frame.common.errors import UserError
from frame.models.WGAN_GP import WGAN_GP, between, slopes
from tests import digits

BATCH = {"x": torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))}


def model(critic: nn.Module, penalty_weight: float = 10.0) -> WGAN_GP:
    torch.manual_seed(0)
    generator = digits.Generator(3, [8])
    return WGAN_GP(generator, critic, DiagonalNormal(3), penalty_weight)


def test_the_penalty_of_a_linear_critic() -> None:
    """f(x) = w x + b has the slope ||w|| everywhere: penalty (||w|| - 1)^2, gradient 2 (||w|| - 1) w / ||w||."""
    critic = MLPCritic(64, [])
    w = critic.linear.weight
    losses = model(critic).compute_adversarial_loss(BATCH)
    norm = w.detach().norm()
    torch.testing.assert_close(losses["slope"], norm)
    torch.testing.assert_close(losses["penalty"], (norm - 1) ** 2)
    (gradient,) = torch.autograd.grad(losses["penalty"], w)
    torch.testing.assert_close(gradient, 2 * (norm - 1) * w.detach() / norm)


def test_losses_add_up() -> None:
    critic = MLPCritic(64, [16], nn.Tanh())
    wgan = model(critic, penalty_weight=3.0)
    torch.manual_seed(1)
    losses = wgan.compute_adversarial_loss(BATCH)
    torch.manual_seed(1)
    fake = wgan.sample(6)
    x = BATCH["x"]
    gap = sum(critic(row[None]).item() for row in x) / 6 - sum(critic(row[None]).item() for row in fake) / 6
    assert losses["gap"].item() == pytest.approx(gap, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(losses["loss"], -losses["gap"] + 3 * losses["penalty"])
    torch.manual_seed(1)
    torch.testing.assert_close(wgan(BATCH)["loss"], -critic(fake).mean())


def test_the_slope_of_each_row_is_its_own() -> None:
    """||df/dx|| against finite differences, for f(x) = sum of sin(x_i)^2 scaled by row."""
    x = torch.rand(4, 2, 3, dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return (x.sin() ** 2).sum((1, 2))

    found = slopes(f, x)
    for row, slope in zip(x, found, strict=True):
        steps = 1e-6 * torch.eye(6, dtype=torch.float64).view(6, 2, 3)
        gradient = (f(row + steps) - f(row - steps)) / 2e-6
        torch.testing.assert_close(slope, gradient.norm(), rtol=1e-6, atol=1e-8)


def test_the_penaltys_gradient_reaches_the_critics_weights() -> None:
    """d/dw of (||df/dx|| - 1)^2 against finite differences, through a hidden layer."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.rand(5, 3, dtype=torch.float64)

    def penalty() -> Tensor:
        return (slopes(critic, x) - 1).square().mean()

    penalty().backward()
    for name, weight in critic.named_parameters():
        if name == "2.bias":  # the slope does not depend on it
            continue
        assert weight.grad is not None
        flat, gradient = weight.data.view(-1), weight.grad.view(-1)
        for i in range(len(flat)):
            value, ends = flat[i].item(), []
            for step in (1e-6, -1e-6):
                flat[i] = value + step
                ends.append(penalty().item())
            flat[i] = value
            assert gradient[i].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_a_flat_critic_has_finite_gradients() -> None:
    """The norm has no derivative at 0; a critic that starts at 0 must not become NaN."""
    critic = MLPCritic(64, [])
    nn.init.zeros_(critic.linear.weight)
    losses = model(critic).compute_adversarial_loss(BATCH)
    losses["loss"].backward()
    assert losses["penalty"].item() == 1
    assert critic.linear.weight.grad is not None and critic.linear.weight.grad.isfinite().all()


def test_interpolates_lie_between() -> None:
    """All pixels of a row share a position, which is uniform over rows."""
    torch.manual_seed(0)
    x, fake = torch.zeros(5000, 1, 2, 2), torch.ones(5000, 1, 2, 2)
    places = between(x, fake)
    assert (places == places[:, :, :1, :1]).all()
    assert 0 <= places.min() and places.max() <= 1
    for part in (0.25, 0.5, 0.75):
        assert places[:, 0, 0, 0].quantile(part).item() == pytest.approx(part, abs=0.03)


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="penalty_weight=-1"):
        model(MLPCritic(64, []), penalty_weight=-1)
