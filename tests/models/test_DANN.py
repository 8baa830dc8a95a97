"""DANN: one loss whose gradient is the paper's for each of the three networks."""

import pytest
import torch
from torch import Tensor

from frame.architectures.base import MLPEncoder, Predictor
from frame.common.errors import UserError
from frame.models.DANN import DANN, reversed_gradient


def made(weight: float = 0.3) -> DANN:
    torch.manual_seed(0)
    return DANN(MLPEncoder([3], 2, [4], deterministic=True), Predictor(2, 2), Predictor(2, 3), 3, weight)


def gradients(model: DANN, loss: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return {name: torch.zeros_like(named[name]) if g is None else g for name, g in zip(named, found, strict=True)}


def test_the_encoder_ascends_where_the_other_descends() -> None:
    """Eq. 9: E = L_y - lambda (sum of the domains' mean L_d): theta_f, theta_y minimise, theta_d maximises it."""
    torch.manual_seed(1)
    model = made()
    env = torch.tensor([0, 1, 1, 2, 2, 2])
    batch = {"x": torch.rand(6, 3), "y": torch.tensor([0, 1, 1, 0, 1, 0]), "env": env}
    losses = model(batch)
    z = model.encoder(batch["x"]).mean
    of_labels = -model.predictor(z).log_prob(batch["y"]).mean()
    of_domains = sum(-model.env_predictor(z).log_prob(env)[env == e].mean() for e in range(3))
    assert isinstance(of_domains, Tensor)
    torch.testing.assert_close(losses["loss"], of_labels + of_domains)
    torch.testing.assert_close(losses["env_cross_entropy"], of_domains)
    found = gradients(model, losses["loss"])
    labels, domains = gradients(model, of_labels), gradients(model, of_domains)
    for name in found:
        factor = -0.3 if name.startswith("encoder.") else 1.0
        torch.testing.assert_close(found[name], labels[name] + factor * domains[name])


def test_the_reversal_is_the_identity_to_the_bit() -> None:
    z = torch.randn(50, requires_grad=True)
    found = reversed_gradient(z, torch.tensor(0.7))
    assert torch.equal(found, z)
    found.sum().backward()
    torch.testing.assert_close(z.grad, torch.full((50,), -0.7))


def test_wrong_arguments_are_one_line() -> None:
    with pytest.raises(UserError, match="weight=-1"):
        made(-1.0)
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 2, env_predictor 5\)"):
        DANN(MLPEncoder([3], 2, [4], deterministic=True), Predictor(2, 2), Predictor(5, 3), 3, 1.0)
