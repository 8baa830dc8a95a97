"""Sizes and costs of models, against counts by hand."""

import pytest
import torch

from frame.build import build
from frame.compose import compose, options
from frame.facts import facts
from frame.stored import resolved


def of(experiment: str, *overrides: str, n_adversary_steps: int = 1) -> dict[str, float]:
    config = compose([f"experiment={experiment}", *overrides])
    return facts(build(resolved(config.model)), build(resolved(config.data)), n_adversary_steps)


def test_a_vae_by_hand() -> None:
    found = of("digits_VAE")
    encoder = [(64, 128), (128, 16)]
    layers = [*encoder, (8, 128), (128, 128)]  # location and scale of 64 pixels
    assert found["encoder_parameters"] == sum((i + 1) * o for i, o in encoder)
    assert found["parameters"] == sum((i + 1) * o for i, o in layers)
    # 2 i o forward, twice that backward, but no gradient of the pictures
    assert found["flops_per_sample"] == sum(6 * i * o for i, o in layers) - 2 * 64 * 128


def test_an_adversary_costs_more_the_more_often_it_steps() -> None:
    once, five = of("digits_WGAN_GP"), of("digits_WGAN_GP", n_adversary_steps=5)
    assert 0 < five["flops_per_sample"] < once["flops_per_sample"]  # its steps are iterations, too
    assert of("digits_GAN")["encoder_parameters"] is None


@pytest.mark.parametrize("experiment", [name for name in options("experiment") if name.startswith("digits_")])
def test_every_method_has_them_and_stays_as_it_is(experiment: str) -> None:
    config = compose([f"experiment={experiment}"])
    torch.manual_seed(0)
    model, data = build(resolved(config.model)), build(resolved(config.data))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = facts(model, data)
    assert found["parameters"] > 0 and found["flops_per_sample"] > 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
