"""FSQ: the grid, its indices, and the gradient through the rounding."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.base import MLPDecoder
from frame.common.errors import UserError
from frame.models.base import ConditionalDistribution
from frame.models.FSQ import FSQ
from frame.probability.distributions import Delta

LEVELS = [[2, 3], [4, 5], [8, 6, 5], [7], [3, 3, 2, 2]]


class Given(ConditionalDistribution):
    """z_e = x."""

    def forward(self, x: Tensor) -> Delta:
        return Delta(x)


class Corners(ConditionalDistribution):
    """Two of a picture's pixels."""

    def forward(self, x: Tensor) -> Delta:
        return Delta(x[:, 0, 0])


def model_of(levels: list[int]) -> FSQ:
    return FSQ(Given(), MLPDecoder((1, 2, 2), len(levels), []), levels)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_each_dimension_has_exactly_its_levels(levels: list[int]) -> None:
    """From -floor(L/2) to ceil(L/2) - 1, over floor(L/2): 0 is one of them, whatever L is."""
    model = model_of(levels)
    z = torch.linspace(-30, 30, 20_001).unsqueeze(1).expand(-1, len(levels))  # far into the tails of tanh
    z_q = model.quantised(z)[0]
    for d, L in enumerate(levels):
        expected = torch.arange(-(L // 2), (L + 1) // 2) / (L // 2)
        assert len(expected) == L and 0 in expected
        torch.testing.assert_close(z_q[:, d].unique(), expected)
        assert (z_q[:, d].diff() >= 0).all()
    if min(levels) > 2:  # with two levels, f(0) lies near the border of the two
        assert not model.quantised(torch.zeros(1, len(levels)))[0].any()


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_codes_and_their_indices_are_one_to_one(levels: list[int]) -> None:
    model = model_of(levels)
    assert model.n_codes == torch.tensor(levels).prod()
    codes = model.codes(torch.arange(model.n_codes))
    grid = itertools.product(*[[i / (L // 2) for i in range(-(L // 2), (L + 1) // 2)] for L in levels])
    assert {tuple(code) for code in codes.tolist()} == {tuple(torch.tensor(point).tolist()) for point in grid}
    # any z_e that is rounded to a code has its index
    half_width = (torch.tensor(levels) - 1) * (1 + 1e-3) / 2
    offset = 0.5 * (torch.tensor(levels) % 2 == 0)
    z = torch.atanh((codes * (torch.tensor(levels) // 2) + offset) / half_width) - torch.tan(offset / half_width)
    z_q, indices = model.quantised(z)
    assert torch.equal(indices, torch.arange(model.n_codes))
    torch.testing.assert_close(z_q, codes)


@pytest.mark.parametrize("where", [(), (3,), (2, 3)])
def test_maps_are_quantised_place_by_place(where: tuple[int, ...]) -> None:
    model = model_of([8, 6, 5])
    z = torch.randn(4, 3, *where, generator=torch.Generator().manual_seed(0))
    z_q, indices = model.quantised(z)
    assert z_q.shape == z.shape and indices.shape == (4, *where)
    assert torch.equal(model.codes(indices).movedim(-1, 1), z_q)
    flat_q, flat = model.quantised(z.movedim(1, -1).reshape(-1, 3))
    assert torch.equal(flat, indices.flatten()) and torch.equal(flat_q, z_q.movedim(1, -1).reshape(-1, 3))
    assert torch.equal(model.encode(z).mean, z_q.flatten(1))


def test_the_gradient_is_that_of_the_bounding_function() -> None:
    """z_q = round(f(z)) / 2 for L = 5 and round(f(z)) / 4 for L = 8: d/dz = f'(z) / 2 and f'(z) / 4."""
    model = model_of([5, 8])
    z = torch.randn(6, 2, requires_grad=True, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(6, 2)
    (through,) = torch.autograd.grad((weight * model.quantised(z)[0]).sum(), z)
    (without,) = torch.autograd.grad((weight * model.bounded(z) / torch.tensor([2, 4])).sum(), z)
    torch.testing.assert_close(through, without)
    # L = 5 by hand: f = 2.002 tanh(z)
    torch.testing.assert_close(through[:, 0], weight[:, 0] * 1.001 / z.detach()[:, 0].cosh() ** 2)


def test_the_loss_is_the_distortion_alone() -> None:
    torch.manual_seed(0)
    model = FSQ(Corners(), MLPDecoder((1, 2, 2), 2, []), [5, 4])
    x = torch.rand(3, 1, 2, 2).round()
    logits = model.decoder(model.quantised(model.encoder(x).mean)[0]).base_dist.logits
    by_hand = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / 3
    torch.testing.assert_close(model({"x": x})["loss"], by_hand)


def test_errors_are_named() -> None:
    for levels in ([], [1, 5], [5, 0]):
        with pytest.raises(UserError, match="levels="):
            FSQ(Given(), Given(), levels)
    with pytest.raises(UserError, match=r"z_dim differs \(decoder 3, codes 2\)"):
        FSQ(Given(), MLPDecoder((1, 2, 2), 3, []), [5, 5])
