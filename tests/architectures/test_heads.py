"""Heads: the distribution that each makes from features, and its shape."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from frame.architectures.base import DiagonalNormal
from frame.architectures.heads import CategoricalHead, DeltaHead, DeltaMapHead, DiagonalNormalHead
from frame.common.errors import UserError

FEATURES = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def parts(head: nn.Module) -> tuple[Tensor, Tensor]:
    weight, bias = head.parameters()
    return weight, bias


def test_each_head_by_hand() -> None:
    torch.manual_seed(0)
    normal = DiagonalNormalHead(4, 3, scale_shift=-1.0)
    weight, bias = parts(normal)
    q: Distribution = normal(FEATURES)
    assert q.batch_shape == (5,) and q.event_shape == (3,)
    torch.testing.assert_close(q.mean, FEATURES @ weight[:3].T + bias[:3])
    torch.testing.assert_close(q.stddev, softplus(FEATURES @ weight[3:].T + bias[3:] - 1) + 1e-6)
    delta = DeltaHead(4, 3)
    weight, bias = parts(delta)
    q = delta(FEATURES)
    assert q.batch_shape == (5,) and q.event_shape == (3,) and not q.variance.any()
    torch.testing.assert_close(q.mean, FEATURES @ weight.T + bias)
    categorical = CategoricalHead(4, 3)
    weight, bias = parts(categorical)
    q = categorical(FEATURES)
    assert q.batch_shape == (5,) and q.event_shape == ()
    log_p = (FEATURES @ weight.T + bias).log_softmax(-1)
    torch.testing.assert_close(q.log_prob(torch.tensor([0, 1, 2, 0, 1])), log_p[range(5), [0, 1, 2, 0, 1]])


def test_a_map_of_vectors_is_the_delta_at_each_place() -> None:
    torch.manual_seed(0)
    head, x = DeltaMapHead(4, 3), torch.randn(5, 4, 2, 6)
    weight, bias = parts(head)
    q = head(x)
    assert q.batch_shape == (5,) and q.event_shape == (3, 2, 6)
    torch.testing.assert_close(q.mean[:, :, 1, 4], x[:, :, 1, 4] @ weight[:, :, 0, 0].T + bias)


def test_several_samples_of_z_are_leading_dimensions() -> None:
    for head in (DiagonalNormalHead(4, 3), CategoricalHead(4, 3)):
        assert head(torch.randn(7, 5, 4)).batch_shape == (7, 5)


def test_log_scale_stays_finite_where_softplus_underflows() -> None:
    q = DiagonalNormalHead(1, 1, scale_shift=-500.0)(torch.zeros(1, 1))
    assert torch.distributions.kl_divergence(q, DiagonalNormal(1)()).isfinite().all()


def test_scale_is_softplus_of_rho_plus_shift() -> None:
    head = DiagonalNormalHead(3, 2, scale_shift=-5.0)
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    torch.testing.assert_close(head(torch.randn(4, 3)).stddev, torch.full((4, 2), math.log1p(math.exp(-5)) + 1e-6))


@pytest.mark.parametrize("head", [DiagonalNormalHead, DeltaHead, DeltaMapHead, CategoricalHead])
def test_invalid_sizes_are_refused(head: type[nn.Module]) -> None:
    with pytest.raises(UserError, match="n_in=0: it must be at least 1"):
        head(0, 3)
    with pytest.raises(UserError, match="=0: it must be at least"):
        head(4, 0)
