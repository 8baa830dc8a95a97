"""What ranks share, with three ranks whose other two have known values."""

import pytest
import torch
from torch import Tensor, distributed

from frame.common import ranks
from frame.common.ranks import all_rows, alone, from_rank_0, log_mean_exp_over_ranks, mean_over_ranks, sum_over_ranks

OTHERS = (2.0, 6.0)


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """This is rank 2 of 3."""

    def all_gather(found: list[Tensor], x: Tensor) -> None:
        for into, value in zip(found, (*OTHERS, x), strict=True):
            into.copy_(torch.as_tensor(value))

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda x: x.add_(sum(OTHERS)))
    monkeypatch.setattr(distributed, "broadcast", lambda x, src: x.fill_(OTHERS[src]))
    monkeypatch.setattr(distributed, "all_gather", all_gather)


@pytest.mark.usefixtures("three")
def test_sums_and_means_are_those_of_all_ranks() -> None:
    x = torch.tensor([1.0])
    assert sum_over_ranks(x) is x and x.item() == 9
    assert mean_over_ranks(torch.tensor([1.0])).item() == 3
    assert from_rank_0(torch.tensor([1.0])).item() == 2
    x = torch.tensor([1.0], requires_grad=True)
    found = log_mean_exp_over_ranks(x)
    expected = (torch.tensor([1.0, 2.0, 6.0]).exp().mean()).log()
    torch.testing.assert_close(found, expected.view(1))
    assert not found.requires_grad and x.item() == 1
    x = torch.tensor([800.0])  # e^800 is infinite
    assert log_mean_exp_over_ranks(x).item() == pytest.approx(800 - torch.tensor(3.0).log().item())


@pytest.mark.usefixtures("three")
def test_rows_of_all_ranks_are_in_their_order_and_a_gradient_is_the_sum_over_ranks() -> None:
    x = torch.tensor([[1.0, 3.0], [1.0, 5.0]], requires_grad=True)
    found = all_rows(x)
    assert found.tolist() == [[2, 2], [2, 2], [6, 6], [6, 6], [1, 3], [1, 5]]
    weights = torch.arange(12.0).view(6, 2)
    (weights * found).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, weights[4:] + sum(OTHERS))  # what the others' losses have
    assert all_rows(torch.tensor([1, 7])).tolist() == [2, 2, 6, 6, 1, 7]  # such as classes


@pytest.mark.usefixtures("three")
def test_nothing_is_shared_while_a_rank_is_alone() -> None:
    assert ranks.several()
    with alone():
        with alone():
            pass
        assert not ranks.several()
        functions = (sum_over_ranks, mean_over_ranks, from_rank_0, log_mean_exp_over_ranks, all_rows)
        assert [share(torch.tensor([1.0])).item() for share in functions] == [1.0] * 5
    assert ranks.several()


def test_a_single_process_shares_nothing() -> None:
    assert not ranks.several()
    assert mean_over_ranks(torch.tensor([1.0])).item() == 1
    x = torch.ones(2, 3)
    assert all_rows(x) is x
