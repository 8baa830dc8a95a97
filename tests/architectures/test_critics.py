"""The critic that all adversaries of codes and pictures share."""

import pytest
import torch
from torch import nn

from frame.architectures.critics import (
    ConvCritic,
    GaussianConditional,
    JointConvCritic,
    JointCritic,
    MLPCritic,
    SeparableCritic,
)
from frame.common.errors import UserError


def test_inputs_are_flattened_and_joined_in_their_order() -> None:
    torch.manual_seed(0)
    x, z = torch.rand(5, 1, 2, 2), torch.randn(5, 3)
    critic = MLPCritic(7, [6])
    one = critic(torch.cat([x.reshape(5, 4), z], 1))
    torch.testing.assert_close(critic(x, z), one)
    assert one.shape == (5,) and not torch.equal(critic(z, x), one)


def test_it_is_the_mlp_written_out() -> None:
    torch.manual_seed(0)
    z = torch.randn(5, 3)
    critic = MLPCritic(3, [4], nn.LeakyReLU(0.2), n_out=2)
    w1, b1, w2, b2 = critic.parameters()
    h = z @ w1.T + b1
    torch.testing.assert_close(critic(z), torch.where(h > 0, h, 0.2 * h) @ w2.T + b2)
    assert critic(z).shape == (5, 2) and critic(z).min() < 0  # logits


def test_without_hidden_layers_it_is_linear() -> None:
    critic = MLPCritic(3, [])
    a, b = torch.randn(2, 4, 3)
    torch.testing.assert_close(critic(a) + critic(b) - critic(a + b), critic.linear.bias.expand(4))


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="n_in=0: it must be at least 1"):
        MLPCritic(0, [4])
    with pytest.raises(UserError, match="n_out=0"):
        MLPCritic(3, [4], n_out=0)
    with pytest.raises(UserError, match="layers=.*at least 1"):
        MLPCritic(3, [0])


def test_convolutions_see_2x_minus_1_and_rows_do_not_see_one_another() -> None:
    torch.manual_seed(0)
    critic = ConvCritic((2, 8, 12), [3, 4], [5], nn.LeakyReLU(0.2))
    x = torch.rand(6, 2, 8, 12)
    expected = critic.critic(critic.convolutions(2 * x - 1))
    torch.testing.assert_close(critic(x), expected)
    torch.testing.assert_close(torch.cat([critic(row[None]) for row in x]), expected)
    assert critic(x).shape == (6,) and ConvCritic((2, 8, 12), [3], n_out=7)(x).shape == (6, 7)
    assert {type(m) for m in critic.modules()} >= {nn.LeakyReLU} and nn.ReLU not in {type(m) for m in critic.modules()}


def test_batch_norm_is_in_all_convolutions_but_the_first_and_the_last() -> None:
    torch.manual_seed(0)
    critic = ConvCritic((1, 8, 8), [3, 4], [5], nn.LeakyReLU(0.2), n_out=2, batch_norm=True)
    kinds = [type(layer).__name__ for layer in critic.convolutions]
    assert kinds == ["Conv2d", "LeakyReLU", "Conv2d", "BatchNorm", "LeakyReLU"]
    assert [type(layer).__name__ for layer in critic.critic.hidden] == ["Linear", "BatchNorm", "LeakyReLU"]
    x = torch.rand(50, 1, 8, 8)
    mapped = critic.convolutions[:-1](2 * x - 1)
    torch.testing.assert_close(mapped.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0.0)
    critic.eval()
    torch.testing.assert_close(critic(x[:1]), critic(x)[:1])


def test_a_joint_critic_of_pictures_is_an_mlp_of_convolutions_and_codes() -> None:
    torch.manual_seed(0)
    critic = JointConvCritic((2, 8, 12), 5, [3, 4], [6], nn.LeakyReLU(0.2))
    x, z = torch.rand(4, 2, 8, 12), torch.randn(4, 5)
    assert isinstance(critic.critic.linear, nn.Linear) and critic(x, z).shape == (4,)
    both = torch.cat([critic.convolutions(2 * x - 1).flatten(1), z], dim=1)
    torch.testing.assert_close(critic(x, z), critic.critic(both))
    torch.testing.assert_close(torch.cat([critic(x[i : i + 1], z[i : i + 1]) for i in range(4)]), critic(x, z))
    with pytest.raises(UserError, match="z_dim=0"):
        JointConvCritic((1, 8, 8), 0)
    with pytest.raises(UserError, match="take pictures"):
        JointConvCritic((12,), 3)


def test_too_many_halvings_are_named() -> None:
    with pytest.raises(UserError, match="halves the 8 x 12 pixels, give 1 to 2"):
        ConvCritic((1, 8, 12), [4, 4, 4])


def test_a_shape_is_as_good_as_its_number_of_values() -> None:
    x, y = torch.rand(4, 1, 2, 3), torch.rand(4, 5)
    for kind in (JointCritic, SeparableCritic, GaussianConditional):
        networks = []
        for n_x, n_y in ((6, 5), ([1, 2, 3], [5])):
            torch.manual_seed(0)
            networks.append(kind(n_x, n_y, [4]))
        number, shape = networks
        assert torch.equal(number(x, y), shape(x, y))
    torch.manual_seed(0)
    flat = MLPCritic(6, [4])
    torch.manual_seed(0)
    assert torch.equal(flat(x), MLPCritic([1, 2, 3], [4])(x))


def test_a_conditional_of_rows_of_any_shape_is_that_of_flat_rows() -> None:
    torch.manual_seed(0)
    q, x, y = GaussianConditional([2, 2], [1, 2, 3], [4]), torch.rand(4, 2, 2), torch.rand(4, 1, 2, 3)
    torch.testing.assert_close(q(x, y), q.q(x).log_prob(y.flatten(1)))
    torch.testing.assert_close(q.matrix(x, y).diagonal(), q(x, y))
    assert q.matrix(x, y).shape == (4, 4)


def test_sizes_that_are_none_are_one_line() -> None:
    for kind in (JointCritic, SeparableCritic, GaussianConditional):
        with pytest.raises(UserError, match="n_x=0: it must be at least 1"):
            kind([1, 0], 3, [4])
        with pytest.raises(UserError, match="n_y=0: it must be at least 1"):
            kind(3, 0, [4])
