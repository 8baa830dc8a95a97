"""The buffer of recent losses: what was added is read back, whatever the names and the number."""

import math

import pytest
import torch

from frame.optimization.losses import RecentLosses, first_broken, means

NAN = float("nan")


def filled(*iterations: dict[str, float], room: int = 64) -> RecentLosses:
    recent = RecentLosses(room)
    for losses in iterations:
        recent.add({name: torch.tensor(value) for name, value in losses.items()})
    return recent


@pytest.mark.parametrize("room", [1, 2, 64])
def test_what_was_added_is_read_back(room: int) -> None:
    iterations = [{"a/loss": 1.0}, {"a/loss": 2.0, "loss": 3.0}, {"loss": 4.0}, {"other": 5.0, "a/loss": 6.0}] * 3
    recent = filled(*iterations, room=room)
    assert list(recent) == iterations and len(recent) == 12
    recent.clear()
    assert list(recent) == [] and len(recent) == 0
    recent.add({"loss": torch.tensor(7.0)})
    assert list(recent) == [{"loss": 7.0}]


def test_the_order_of_names_may_change_between_iterations() -> None:
    iterations = [{"rate": 1.0, "loss": 2.0}, {"loss": 3.0, "rate": 4.0}, {"rate": 5.0, "loss": 6.0}]
    assert list(filled(*iterations)) == iterations


def test_losses_are_read_without_their_graph_and_in_float32() -> None:
    w = torch.tensor(2.0, requires_grad=True)
    recent = RecentLosses()
    recent.add({"loss": w * w, "half": torch.tensor(0.5, dtype=torch.bfloat16)})
    assert list(recent) == [{"loss": 4.0, "half": 0.5}]
    (w * 3).backward()  # the buffer holds no graph
    assert w.grad is not None and w.grad.item() == 3


def test_means_are_over_the_iterations_that_have_a_loss() -> None:
    assert means(filled({"a": 1.0}, {"a": 3.0, "b": 5.0}, {"b": 6.0})) == {"a": 2.0, "b": 5.5}
    assert means([]) == {}


def test_a_player_that_does_not_step_is_no_nan_and_a_nan_is_found() -> None:
    assert first_broken(filled({"a": 1.0}, {"b": 1.0})) is None
    place, name, value = first_broken(filled({"a": 1.0}, {"loss": NAN, "b": NAN}, {"a": math.inf})) or (0, "", 0.0)
    assert (place, name) == (1, "b") and math.isnan(value)
    assert first_broken(filled({"a": 1.0, "loss": math.inf})) == (0, "loss", math.inf)


def test_a_copy_goes_on_with_the_same_losses() -> None:
    recent = filled({"a": 1.0}, {"a": 2.0, "b": 3.0})
    copy = RecentLosses.of(list(recent), torch.device("cpu"))
    for one in (recent, copy):
        one.add({"b": torch.tensor(4.0)})
    assert list(copy) == list(recent) == [{"a": 1.0}, {"a": 2.0, "b": 3.0}, {"b": 4.0}]
