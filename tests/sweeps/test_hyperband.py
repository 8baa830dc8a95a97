"""Hyperband: its rungs, and which runs continue, on numbers by hand."""

import pytest

from frame.common.errors import UserError
from frame.sweeps.hyperband import Hyperband


def test_rungs() -> None:
    assert Hyperband.parse({"type": "hyperband", "min_iter": 3}).rungs[:4] == (3, 9, 27, 81)
    assert Hyperband.parse({"type": "hyperband", "min_iter": 2, "eta": 2}).rungs[:3] == (2, 4, 8)
    assert Hyperband.parse({"type": "hyperband", "max_iter": 27, "s": 2}).rungs == (3, 9)


def test_the_best_third_continues() -> None:
    rule = Hyperband((2,), 3)
    others = [[0.0, v] for v in (1.0, 2.0, 3.0, 4.0, 5.0)]  # six with the run itself: two continue
    assert rule.ends([0.0, 6.0], others, maximize=True) is None
    assert rule.ends([0.0, 4.5], others, maximize=True) is None  # one is better
    assert rule.ends([0.0, 3.5], others, maximize=True) == 2  # two are
    assert rule.ends([9.0, 0.5], [[9.0, v] for v in (1.0, 2.0)], maximize=False) is None
    assert rule.ends([9.0, 1.5], [[9.0, v] for v in (1.0, 2.0)], maximize=False) == 2


def test_the_first_run_at_a_rung_continues_and_none_ends_before_a_rung() -> None:
    rule = Hyperband((2, 4), 2)
    assert rule.ends([0.0, 0.0], [], maximize=True) is None
    assert rule.ends([0.0], [[1.0, 1.0]], maximize=True) is None
    assert rule.ends([0.0, 0.0], [[1.0]], maximize=True) is None  # the other has not reached it
    assert rule.ends([0.0] * 5, [[1.0] * 4], maximize=True) == 4


def test_a_run_counts_by_its_best_value_up_to_the_rung() -> None:
    assert Hyperband((3,), 2).ends([5.0, 0.0, 0.0], [[1.0, 2.0, 4.0, 9.0]], maximize=True) is None


def test_refused() -> None:
    for plain, said in [
        ({"type": "hyperband", "min_iter": 3, "eta": 1}, "eta=1.0 must be above 1"),
        ({"type": "hyperband", "max_iter": 2, "s": 3}, "below 1 measurement"),
        ({"type": "hyperband", "minimum": 3}, "no key 'minimum'"),
    ]:
        with pytest.raises(UserError, match=said):
            Hyperband.parse(plain)
