from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from frame.optimization import fused

KINDS = {
    "Adam": partial(Adam, fused=True),
    "Adam with options": partial(Adam, fused=True, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1, maximize=True),
    "AdamW": partial(AdamW, fused=True, weight_decay=0.1),
    "Adam as torch's default": Adam,
    "amsgrad": partial(Adam, fused=True, amsgrad=True),
    "SGD": partial(SGD, momentum=0.9),
}


def trained(kind: Callable[..., Optimizer], step: Callable[[Optimizer], Any]) -> tuple[nn.Module, Optimizer]:
    """A network after 5 steps in two groups; the rate changes, and a layer has no gradient in the first steps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    groups = [{"params": [*network[0].parameters()], "lr": 0.1}, {"params": [*network[2].parameters()]}]
    optimizer = kind(groups, lr=0.01)
    for i in range(5):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + i)
        network(torch.randn(4, 3)).square().sum().backward()
        if i in (0, 3):
            for parameter in network[0].parameters():
                parameter.grad = None
        step(optimizer)
        optimizer.zero_grad()
    return network, optimizer


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_its_steps_are_those_of_torch_to_the_bit(kind: Callable[..., Optimizer]) -> None:
    here, there = trained(kind, fused.step), trained(kind, lambda optimizer: optimizer.step())
    for a, b in zip(here[0].parameters(), there[0].parameters(), strict=True):
        assert torch.equal(a, b)
    states = [optimizer.state_dict() for _, optimizer in (here, there)]
    torch.testing.assert_close(states[0]["state"], states[1]["state"], rtol=0, atol=0)
    assert states[0]["param_groups"] == states[1]["param_groups"]


def test_only_the_first_step_of_fused_adam_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Optimizer] = []
    original = Adam.step

    def noted(optimizer: Optimizer) -> None:
        steps.append(optimizer)
        original(optimizer)  # type: ignore[arg-type]

    monkeypatch.setattr(Adam, "step", noted)
    parameter = nn.Parameter(torch.ones(3))
    optimizer = Adam([parameter], fused=True)
    for _ in range(3):
        parameter.grad = torch.ones(3)
        fused.step(optimizer)
    assert len(steps) == 1


def test_hooks_and_a_replaced_step_are_called() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer, called = Adam([parameter], fused=True), list[str]()
    parameter.grad = torch.ones(3)
    fused.step(optimizer)
    handle = optimizer.register_step_post_hook(lambda *_: called.append("after"))
    fused.step(optimizer)
    handle.remove()
    vars(optimizer)["step"] = lambda: called.append("replaced")
    fused.step(optimizer)
    assert called == ["after", "replaced"]
