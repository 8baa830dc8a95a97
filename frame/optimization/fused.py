"""A step of torch's fused Adam for little more than its kernel.

`Optimizer.step` is recorded for profilers and looks each parameter up several times. In a small network that takes as
long as the kernel. The numbers are those of `optimizer.step()`, to the bit.
"""

import torch
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.adam import adam

OPTIONS = ("amsgrad", "lr", "weight_decay", "eps", "maximize", "fused", "decoupled_weight_decay")


def step(optimizer: Optimizer) -> None:
    """Steps an optimizer of any kind; quicker if it is fused Adam or AdamW, and has stepped before."""
    if not _is_plain(optimizer):
        optimizer.step()
        return
    groups = []
    for group in optimizer.param_groups:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if any(parameter not in optimizer.state for parameter in parameters):
            optimizer.step()  # which makes their states
            return
        groups.append((group, parameters, [optimizer.state[parameter] for parameter in parameters]))
    with torch.no_grad():
        for group, parameters, states in groups:
            beta1, beta2 = group["betas"]
            adam(
                parameters,
                [parameter.grad for parameter in parameters],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],  # amsgrad's
                [state["step"] for state in states],
                beta1=beta1,
                beta2=beta2,
                **{option: group[option] for option in OPTIONS},
            )


def _is_plain(optimizer: Optimizer) -> bool:
    """Whether it is fused Adam without anything that only `step` knows of."""
    return (
        type(optimizer) in (Adam, AdamW)
        and all(group["fused"] and not group["amsgrad"] and not group["capturable"] for group in optimizer.param_groups)
        and "step" not in vars(optimizer)  # replaced, as for a trial on the device 'meta'
        and not optimizer._optimizer_step_pre_hooks
        and not optimizer._optimizer_step_post_hooks
    )
