"""Ranks agree on the clock and on signals a fixed number of iterations later, without waiting."""

from collections import deque
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from frame.optimization.clock import Agreement


class Work:
    """An exchange between two ranks: complete once both have posted, which the test decides."""

    def __init__(self, mine: Tensor, other: Tensor) -> None:
        self.mine, self.other = mine, other

    def wait(self) -> None:
        torch.maximum(self.mine, self.other, out=self.mine)


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> deque[Tensor]:
    """What the other rank posts, exchange by exchange."""
    posted: deque[Tensor] = deque()

    def all_reduce(mine: Tensor, op: Any, group: Any, async_op: bool) -> Work:
        assert async_op and op == distributed.ReduceOp.MAX
        return Work(mine, posted.popleft())

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(distributed, "new_group", lambda backend: "group")
    return posted


def test_one_process_has_no_lag() -> None:
    alone = Agreement()
    assert alone.after_iteration(1.5, 15) == (1.5, 15) and alone.now(2.0, 0) == (2.0, 0)


def test_rank_1_hears_of_rank_0_a_fixed_number_of_iterations_later(others: deque[Tensor]) -> None:
    lag = Agreement.LAG
    assert lag <= 10
    rank_1, heard = Agreement(2, 1), []
    for iteration in range(1, 31):
        others.append(torch.tensor([iteration / 10, 0.0], dtype=torch.float64))  # rank 0's clock
        heard.append(rank_1.after_iteration(100.0, 0)[0])  # its own clock does not matter
    assert heard == [0.0] * lag + [iteration / 10 for iteration in range(1, 31 - lag)]


@pytest.mark.parametrize("noticed_by", [0, 1])
def test_a_signal_to_any_rank_holds_on_all_in_the_same_iteration(noticed_by: int, others: deque[Tensor]) -> None:
    for rank in (0, 1):
        agreement, heard = Agreement(2, rank), []
        for iteration in range(20):
            signals = [15 if noticed_by == who and iteration >= 3 else 0 for who in (0, 1)]
            others.append(torch.tensor([0.0, float(signals[1 - rank])], dtype=torch.float64))
            heard.append(agreement.after_iteration(0.0, signals[rank])[1])
        assert heard.index(15) == 3 + Agreement.LAG


def test_at_the_end_nothing_is_left_unheard(others: deque[Tensor]) -> None:
    agreement = Agreement(2, 1)
    for iteration in range(3):
        others.append(torch.tensor([float(iteration), 0.0], dtype=torch.float64))
        agreement.after_iteration(0.0, 0)
    others.append(torch.tensor([7.0, 2.0], dtype=torch.float64))
    assert agreement.now(0.0, 0) == (7.0, 2)


def test_after_a_resume_the_clock_does_not_start_again(others: deque[Tensor]) -> None:
    agreement = Agreement(2, 0, seconds=40.0)
    others.append(torch.zeros(2, dtype=torch.float64))
    assert agreement.after_iteration(40.1, 0) == (40.0, 0)
