"""SIGReg on Gaussians and on known alternatives, in closed form; LeJEPA's loss by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frame.common.errors import UserError
from frame.models.LeJEPA import LeJEPA, epps_pulley, sigreg
from tests.joint import Flat, Same, views

GAUSSIAN = math.sqrt(2 * math.pi)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def expected(n: int, mean: float, std: float) -> float:
    """E[T] of n draws of N(mean, std^2): the integral of (1 - |f|^2 + n |f - phi|^2) phi.

    f = e^{i mean t - std^2 t^2 / 2} is its characteristic function.
    Each part is the integral of e^{-a t^2} cos(b t), which is sqrt(pi / a) e^{-b^2 / 4a}.
    """

    def integral(a: float, b: float = 0.0) -> float:
        return math.sqrt(math.pi / a) * math.exp(-(b**2) / (4 * a))

    modulus = integral(std**2 + 0.5)  # |f|^2 phi
    difference = modulus + integral(1.5) - 2 * integral(std**2 / 2 + 1, mean)
    return integral(0.5) - modulus + n * difference


def test_rows_of_a_gaussian_cost_the_same_for_any_number() -> None:
    """E[T] is the integral of (1 - e^{-t^2}) e^{-t^2 / 2}: sqrt(2 pi) (1 - 1 / sqrt(3)) = 1.059."""
    known = GAUSSIAN * (1 - 1 / math.sqrt(3))
    assert expected(10, 0.0, 1.0) == pytest.approx(known)
    for n, columns in ((8, 20000), (200, 4000)):
        assert epps_pulley(normal(n, columns)).mean().item() == pytest.approx(known, rel=0.03)


@pytest.mark.parametrize(("mean", "std"), [(1.0, 1.0), (0.0, 2.0), (0.5, 0.5)])
def test_rows_of_another_gaussian_cost_what_its_characteristic_function_says(mean: float, std: float) -> None:
    found = epps_pulley(mean + std * normal(100, 4000)).mean().item()
    assert found == pytest.approx(expected(100, mean, std), rel=0.03)
    assert found > 4 * GAUSSIAN * (1 - 1 / math.sqrt(3))


def test_a_collapse_to_0_costs_in_proportion_to_the_rows() -> None:
    """|1 - e^{-t^2 / 2}|^2 e^{-t^2 / 2} has the integral sqrt(2 pi) (1 - sqrt(2) + 1 / sqrt(3))."""
    for n in (10, 100):
        known = n * GAUSSIAN * (1 - math.sqrt(2) + 1 / math.sqrt(3))
        assert epps_pulley(torch.zeros(n, 1)).item() == pytest.approx(known, rel=1e-4)


def test_the_statistic_is_that_of_a_fine_sum() -> None:
    x = normal(7, 2) + 0.5
    for column in range(2):
        total, step = 0.0, 0.01
        for point in range(-500, 501):
            t = point * step
            phi = math.exp(-(t**2) / 2)
            real = sum(math.cos(t * float(value)) for value in x[:, column]) / 7
            imaginary = sum(math.sin(t * float(value)) for value in x[:, column]) / 7
            total += 7 * ((real - phi) ** 2 + imaginary**2) * phi * step
        assert epps_pulley(x)[column].item() == pytest.approx(total, rel=1e-3)


def test_one_flat_direction_among_gaussian_ones_is_seen() -> None:
    z = normal(500, 4)
    directions = F.normalize(normal(256, 4), dim=1)
    flat = z * torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert sigreg(flat, directions) > 3 * sigreg(z, directions)
    moment = (2 * (z > 0) - 1).float()  # mean 0, covariance I, and not Gaussian
    assert sigreg(moment, torch.eye(4)) > 10 * sigreg(z, torch.eye(4))


def test_the_loss_is_a_weighted_sum_with_directions_of_length_1() -> None:
    model, pair = LeJEPA(Flat(3), Same(3), weight=0.2, n_slices=16), views(6, 3, 3)
    torch.manual_seed(5)
    found = model({"views": pair})
    torch.manual_seed(5)
    directions = torch.randn(16, 3)
    directions = directions / directions.norm(dim=1, keepdim=True)
    z = torch.stack(pair)
    prediction = sum((z[v, i] - z[:, i].mean(0)).square().sum() for v in range(3) for i in range(6)) / (3 * 6 * 3)
    regularity = sum(epps_pulley(view @ directions.T).mean() for view in pair) / 3
    torch.testing.assert_close(found["prediction"], prediction)
    torch.testing.assert_close(found["sigreg"], regularity)
    torch.testing.assert_close(found["loss"], 0.8 * prediction + 0.2 * regularity)
    assert not torch.equal(model({"views": pair})["sigreg"], found["sigreg"])  # new directions


def test_values_out_of_range_are_refused() -> None:
    for weight in (-0.5, 1.5):
        with pytest.raises(UserError, match=f"weight={weight}: it must"):
            LeJEPA(Flat(3), Same(3), weight=weight, n_slices=16)
    with pytest.raises(UserError, match="n_slices=0: it must be at least 1"):
        LeJEPA(Flat(3), Same(3), weight=0.5, n_slices=0)
    with pytest.raises(UserError, match="takes two or more views, and each batch has 1"):
        LeJEPA(Flat(3), Same(3), weight=0.5, n_slices=4)({"views": views(4, 3, 1)})
