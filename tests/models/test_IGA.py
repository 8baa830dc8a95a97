"""IGA: the variance of gradients by hand."""

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from frame.models.base import ConditionalDistribution, NoHead
from frame.models.IGA import IGA


class Line(ConditionalDistribution):
    """A Normal of mean w z and variance 1 / 2, so that -log p(y|z) is (y - w z)^2 and a constant."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))
        self.unused = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, z: Tensor) -> Normal:
        mean = self.w * z.double().squeeze(-1)
        return Normal(mean, torch.full_like(mean, 0.5**0.5), validate_args=False)


def batch() -> dict[str, Tensor]:
    x, y = torch.tensor([1.0, 2.0, -1.0, 0.5, 3.0]), torch.tensor([0.5, 1.0, 2.0, 1.0, -1.0])
    return {"x": x.unsqueeze(1), "y": y.double(), "env": torch.tensor([0, 0, 1, 1, 1])}


def test_the_penalty_and_its_gradient_by_hand() -> None:
    """g_e = 2 (w a_e - b_e), a_e = mean x^2, b_e = mean x y: the variance of two is (w (a_1 - a_0) - (b_1 - b_0))^2."""
    rows, w = batch(), 0.7
    x, y, env = rows["x"].squeeze(1), rows["y"], rows["env"]
    a, b = ([(x * other)[env == e].mean().item() for e in (0, 1)] for other in (x, y))
    model = IGA(NoHead(), Line(w), 2, penalty_weight=3.0, rescale=False)
    found = model(rows)
    across = w * (a[1] - a[0]) - (b[1] - b[0])
    torch.testing.assert_close(found["penalty"].item(), across**2, rtol=1e-5, atol=0)
    risks = [((y - w * x)[env == e] ** 2).mean() + 0.5 * torch.log(torch.tensor(torch.pi)) for e in (0, 1)]
    torch.testing.assert_close(found["risk"], (risks[0] + risks[1]) / 2)
    torch.testing.assert_close(found["loss"], found["risk"] + 3 * found["penalty"])
    found["loss"].backward()
    slope = sum(w * a[e] - b[e] for e in (0, 1)) + 3 * 2 * across * (a[1] - a[0])
    assert isinstance(model.predictor, Line) and model.predictor.w.grad is not None
    torch.testing.assert_close(model.predictor.w.grad.item(), slope, rtol=1e-5, atol=0)
    large = IGA(NoHead(), Line(w), 2, penalty_weight=3.0)(rows)["loss"]
    torch.testing.assert_close(large, found["loss"] / 3)


def test_environments_of_the_same_rows_have_no_penalty() -> None:
    rows = batch()
    twice = {key: torch.cat([value, value]) for key, value in rows.items()}
    twice["env"] = torch.arange(10) // 5
    found = IGA(NoHead(), Line(0.7), 2, penalty_weight=3.0)(twice)
    torch.testing.assert_close(found["penalty"], torch.zeros_like(found["penalty"]))


def test_frozen_parameters_have_no_penalty() -> None:
    model = IGA(NoHead(), Line(0.7), 2, penalty_weight=3.0)
    assert isinstance(model.predictor, Line)
    model.predictor.w.requires_grad_(False)
    found = model({**batch(), "x": batch()["x"].requires_grad_()})  # so that there is something to differentiate
    assert found["penalty"].item() == 0
