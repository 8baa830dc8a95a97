"""MoCo: its loss against a loop, the order of its queue, and the groups in which keys are normalised."""

import math

import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.models.MoCo import MoCo
from tests.joint import Flat, Same, networks, views


def plain(temperature: float = 0.2, n_queue: int = 8) -> MoCo:
    torch.manual_seed(0)
    return MoCo(Flat(3), Same(3), temperature, 0.9, n_queue)


def unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=1, keepdim=True)


def test_the_loss_is_that_of_a_loop() -> None:
    model = plain()
    z1, z2 = views(5, 3)
    q, k, queue, expected = unit(z1).double(), unit(z2).double(), model.queue.double(), 0.0
    for i in range(5):
        own = math.exp(float(q[i] @ k[i]) / 0.2)
        expected -= math.log(own / (own + sum(math.exp(float(q[i] @ old) / 0.2) for old in queue))) / 5
    assert model({"views": [z1, z2]})["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_equal_cosines_cost_log_of_the_keys() -> None:
    model = plain()
    model.queue.copy_(torch.tensor([1.0, 0, 0]).expand(8, 3))
    z = torch.tensor([[2.0, 0, 0]]).expand(4, 3)
    assert model({"views": [z, z]})["loss"].item() == pytest.approx(math.log(9), rel=1e-5)


def test_keys_enter_the_queue_in_training_and_the_oldest_leave() -> None:
    model = plain(n_queue=8)
    first, *keys = model.queue.clone(), *(views(3, 3, seed=seed) for seed in range(3))
    assert torch.allclose(first.norm(dim=1), torch.ones(8))
    model.eval()
    model({"views": keys[0]})
    assert torch.equal(model.queue, first)
    model.train()
    for pair in keys:
        model({"views": pair})
    newest_first = [unit(pair[1]) for pair in reversed(keys)]
    torch.testing.assert_close(model.queue, torch.cat(newest_first)[:8])


def test_a_batch_larger_than_the_queue_fills_it() -> None:
    model, pair = plain(n_queue=2), views(5, 3)
    model({"views": pair})
    torch.testing.assert_close(model.queue, unit(pair[1])[:2])


def test_keys_are_normalised_in_shuffled_groups() -> None:
    """As a loop over the groups does; two groups of six rows are as many as three rows each."""
    encoder, projector = networks()
    model = MoCo(encoder, projector, 0.2, 0.75, 8, n_groups=2)
    v2 = views(6, 5)[1]
    torch.manual_seed(3)
    keys = model.keys(v2)
    torch.manual_seed(3)
    order = torch.rand(6).argsort()
    assert order.tolist() != sorted(order.tolist())
    for group in (order[:3], order[3:]):
        torch.testing.assert_close(keys[group], unit(model.teacher.embed(v2[group])))
    assert not torch.allclose(keys, unit(model.teacher.embed(v2)), atol=1e-3)


def test_one_group_is_the_batch_and_groups_have_two_rows() -> None:
    encoder, projector = networks()
    v2 = views(7, 5)[1]
    whole = MoCo(encoder, projector, 0.2, 0.75, 8, n_groups=1)
    torch.testing.assert_close(whole.keys(v2), unit(whole.teacher.embed(v2)))
    rows: list[int] = []
    many = MoCo(encoder, projector, 0.2, 0.75, 8, n_groups=100)
    many.teacher.projector.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    many.keys(v2)
    assert sorted(rows) == [2, 2, 3]


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="n_queue=0: it must be at least 1"):
        plain(n_queue=0)
    with pytest.raises(UserError, match="n_groups=0: it must be at least 1"):
        MoCo(Flat(3), Same(3), 0.2, 0.9, 8, n_groups=0)
    with pytest.raises(UserError, match="temperature=0: it must be above 0"):
        plain(temperature=0.0)
    with pytest.raises(UserError, match=r"decay=1.5: it must lie in \[0, 1\]"):
        MoCo(Flat(3), Same(3), 0.2, 1.5, 8)
    with pytest.raises(UserError, match="Identity has no z_dim"):
        MoCo(Flat(3), nn.Identity(), 0.2, 0.9, 8)
    with pytest.raises(UserError, match="takes two views, and each batch has 1"):
        plain()({"views": views(4, 3, 1)})
