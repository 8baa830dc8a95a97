"""ANDMask: its gradient by a loop over coordinates."""

import pytest
import torch
from torch import Tensor

from frame.architectures.base import MLPEncoder, Predictor
from frame.common.errors import UserError
from frame.models.ANDMask import ANDMask


def made(agreement: float, normalise: bool = False, n_envs: int = 3) -> ANDMask:
    torch.manual_seed(0)
    return ANDMask(MLPEncoder([3], 2, [4], deterministic=True), Predictor(2, 2), n_envs, agreement, normalise)


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    env = torch.tensor([0, 1, 1, 2, 2, 2] * 2)
    return {"x": torch.randn(12, 3, generator=generator), "y": torch.arange(12) % 5 % 2, "env": env}


def risk(model: ANDMask, rows: dict[str, Tensor], e: int) -> Tensor:
    here = rows["env"] == e
    return -model.predictor(model.encoder(rows["x"][here]).mean).log_prob(rows["y"][here]).mean()


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("agreement", "signs"), [(0.0, 1), (0.3, 1), (0.9, 3), (1.0, 3)])
def test_the_gradient_is_the_mean_where_enough_signs_agree(agreement: float, signs: int, normalise: bool) -> None:
    rows, model = batch(), made(agreement, normalise)
    parameters = list(model.parameters())
    each = [torch.autograd.grad(risk(model, rows, e), parameters) for e in range(3)]
    losses = model(rows)
    losses["loss"].backward()
    kept = []
    for i, parameter in enumerate(parameters):
        scale = [float(g[i].norm()) if normalise else 1.0 for g in each]
        assert parameter.grad is not None
        for where in range(parameter.numel()):
            g = [float(gradient[i].flatten()[where]) for gradient in each]
            together = abs(sum(1 if value > 0 else -1 if value < 0 else 0 for value in g))
            kept.append(together >= signs if agreement else True)
            expected = sum(value / s for value, s in zip(g, scale, strict=True)) / 3 if kept[-1] else 0.0
            assert float(parameter.grad.flatten()[where]) == pytest.approx(expected, abs=1e-6)
    assert losses["kept"].item() == pytest.approx(sum(kept) / len(kept))
    assert agreement < 0.5 or 0 < sum(kept) < len(kept)
    torch.testing.assert_close(losses["loss"], sum(risk(model, rows, e) for e in range(3)) / 3)


def test_without_a_mask_it_is_the_mean_risk_and_one_environment_masks_nothing() -> None:
    rows, model = batch(), made(0.0)
    model(rows)["loss"].backward()
    found = [parameter.grad for parameter in model.parameters()]
    expected = torch.autograd.grad(torch.stack([risk(model, rows, e) for e in range(3)]).mean(), [*model.parameters()])
    torch.testing.assert_close(found, list(expected))
    alone = {**rows, "env": torch.zeros_like(rows["env"])}
    assert made(1.0)(alone)["kept"].item() == 1


def test_a_frozen_network_stays_out_of_it_and_losses_can_be_read_without_gradients() -> None:
    rows, model = batch(), made(1.0)
    model.encoder.requires_grad_(False)
    model(rows)["loss"].backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    with torch.no_grad():
        assert model(rows)["loss"].isfinite()


def test_an_agreement_above_1_is_one_line() -> None:
    with pytest.raises(UserError, match=r"agreement=2: it must lie in \[0, 1\]"):
        made(2)
