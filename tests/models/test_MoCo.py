"""MoCo: its loss against a loop, the order of its queue, and keys that do not depend on their batch."""

import math

import pytest
import torch
from torch import Tensor, nn

from frame.architectures.layers import BatchNorm
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


def test_a_key_does_not_depend_on_the_other_rows_and_its_statistics_follow_the_student() -> None:
    encoder, projector = networks()
    model = MoCo(encoder, projector, 0.2, 0.75, 8)
    v1, v2 = views(6, 5)
    model({"views": [v1, v2]})  # changes the student's running statistics
    torch.testing.assert_close(model.teacher.embed(v2)[:2], model.teacher.embed(v2[:2]))
    assert model.teacher.training and all(module.training for module in model.teacher.modules())
    (norm,) = (module for module in projector.modules() if isinstance(module, BatchNorm))
    (mine,) = (module for module in model.teacher.modules() if isinstance(module, BatchNorm))
    assert norm.running is not None and mine.running is not None
    expected = 0.75 * mine.running + 0.25 * norm.running
    assert not torch.equal(mine.running, expected)
    model.after_update(1)
    torch.testing.assert_close(mine.running, expected)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="n_queue=0: it must be at least 1"):
        plain(n_queue=0)
    with pytest.raises(UserError, match="temperature=0: it must be above 0"):
        plain(temperature=0.0)
    with pytest.raises(UserError, match=r"decay=1.5: it must lie in \[0, 1\]"):
        MoCo(Flat(3), Same(3), 0.2, 1.5, 8)
    with pytest.raises(UserError, match="Identity has no z_dim"):
        MoCo(Flat(3), nn.Identity(), 0.2, 0.9, 8)
    with pytest.raises(UserError, match="takes two views, and each batch has 1"):
        plain()({"views": views(4, 3, 1)})
