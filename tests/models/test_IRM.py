"""IRM's penalty by hand, and by finite differences of the risks."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal, Poisson

from frame.common.errors import UserError
from frame.common.schedules import Stages
from frame.models.base import ConditionalDistribution
from frame.models.IRM import IRM, slope
from frame.probability.distributions import Delta


class Itself(ConditionalDistribution):
    """z = x, times a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Delta:
        return Delta(self.factor * x)


class Scaled(ConditionalDistribution):
    """Two classes with the logits 0 and w z; or a Normal of mean w z."""

    def __init__(self, w: float = 1.0, numbers: bool = False) -> None:
        super().__init__()
        self.w, self.numbers = w, numbers

    def forward(self, z: Tensor) -> Categorical | Normal:
        f = self.w * z.squeeze(-1)
        if self.numbers:
            return Normal(f, torch.full_like(f, 0.7), validate_args=False)
        return Categorical(logits=torch.stack([torch.zeros_like(f), f], -1), validate_args=False)


def batch(numbers: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(9, 1, generator=generator, dtype=torch.float64)
    y = torch.randn(9, generator=generator, dtype=torch.float64) if numbers else torch.arange(9) % 2
    return {"x": x, "y": y, "env": torch.tensor([0, 0, 1, 1, 1, 0, 2, 2, 2])}


def test_the_penalty_by_hand() -> None:
    """Logits 0 and z: R_e is the mean of softplus(-s z), s = 1 or -1, with the slope -s z sigmoid(-s z) at w = 1."""
    rows = batch()
    z, sign = rows["x"].squeeze(1), 2.0 * rows["y"] - 1
    margin = sign * z
    risks, slopes = [], []
    for e in range(3):
        m = margin[rows["env"] == e]
        risks.append(nn.functional.softplus(-m).mean())
        slopes.append((-m * torch.sigmoid(-m)).mean())
    found = IRM(Itself(), Scaled(), 3, penalty_weight=5.0, rescale=False)(rows)
    risk, penalty = sum(risks) / 3, sum(s**2 for s in slopes) / 3
    torch.testing.assert_close(found["risk"], risk)
    torch.testing.assert_close(found["penalty"], penalty)
    torch.testing.assert_close(found["loss"], risk + 5 * penalty)


@pytest.mark.parametrize("numbers", [False, True])
def test_the_penalty_is_the_squared_difference_quotient_of_the_risks(numbers: bool) -> None:
    rows, h = batch(numbers), 1e-5

    def risk(w: float, e: int) -> Tensor:
        here = rows["env"] == e
        return -Scaled(w, numbers)(rows["x"][here]).log_prob(rows["y"][here]).mean()

    expected = sum(((risk(1 + h, e) - risk(1 - h, e)) / (2 * h)) ** 2 for e in range(3)) / 3
    found = IRM(Itself(), Scaled(numbers=numbers), 3, penalty_weight=1.0)(rows)["penalty"]
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-6, atol=1e-9)


def test_the_slope_of_many_classes_is_autograd_s() -> None:
    generator = torch.Generator().manual_seed(0)
    f, y = torch.randn(6, 4, generator=generator, dtype=torch.float64), torch.arange(6) % 4
    w = torch.ones(6, 1, dtype=torch.float64, requires_grad=True)
    nn.functional.cross_entropy(w * f, y, reduction="sum").backward()
    assert w.grad is not None
    torch.testing.assert_close(slope(Categorical(logits=f + 3), y), w.grad.squeeze(1))  # a constant cancels


def test_a_predictor_at_its_best_in_each_environment_has_no_penalty() -> None:
    """y is 1 in 3 of 4 rows at z = log 3, in each environment."""
    x = torch.full((8, 1), 3.0).log()
    rows = {"x": x, "y": torch.tensor([1, 1, 1, 0] * 2), "env": torch.tensor([0] * 4 + [1] * 4)}
    found = IRM(Itself(), Scaled(), 2, penalty_weight=1.0)(rows)
    assert found["penalty"].item() == pytest.approx(0, abs=1e-12)


def test_the_loss_is_divided_by_a_weight_above_1() -> None:
    rows = batch()
    weight = Stages(100.0, [0.005, 1.0], ["3 iterations"])
    model = IRM(Itself(), Scaled(), 3, weight)
    low, plain = model(rows), IRM(Itself(), Scaled(), 3, 0.5, rescale=False)(rows)
    torch.testing.assert_close(low["loss"], plain["loss"])  # 0.5 does not divide
    weight.advance({"iterations": 3})
    high, plain = model(rows), IRM(Itself(), Scaled(), 3, 100.0, rescale=False)(rows)
    torch.testing.assert_close(high["loss"], plain["loss"] / 100)


def test_another_distribution_is_one_line() -> None:
    with pytest.raises(UserError, match="a Poisson: give a predictor that returns a Categorical or a Normal"):
        slope(Poisson(torch.ones(2)), torch.ones(2))
    with pytest.raises(UserError, match="penalty_weight=-1"):
        IRM(Itself(), Scaled(), 2, -1.0)
