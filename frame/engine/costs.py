"""The costs of a run and the size of its model, counted once before it starts."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from frame.common.copies import with_same_weights
from frame.common.in_file import in_file
from frame.common.output import say
from frame.data.base import Batch, Indices, count_rows, whole_batch
from frame.data.loader import Loader, Loads
from frame.evaluation.shards import seeded
from frame.optimization.base import Optimization

PATIENCE = 5  # seconds until a line says what takes so long


def costs(optimization: Optimization, loader: Loads) -> dict[str, Any]:
    """Numbers from which a run's costs are computed.

    'parameters' and 'encoder_parameters' (None without an encoder) are trained parameters; those that are frozen for a
    while count as trained. 'flops_per_iteration' are the floating-point operations of one process in matrix products
    and convolutions, forward and backward; as usual, all others are left out. 'batch_rows' are the rows of a batch,
    including nested ones. 'short_flops' and 'short_rows' are the same for an epoch's last batch if it is shorter.
    'flops_per_sample' is a mean over an epoch. 'groups' are the parameters of each optimizer. 'processes' is their
    number.

    FLOPs are counted while a copy of the procedure takes steps on the run's own batches. This takes the time and the
    memory of a step for each kind of iteration (two if an adversary steps more often) and of batch. If the procedure
    cannot step without its trainer, nothing is counted and a line says so.

    Args:
        optimization: the run's procedure. It is not changed, nor are the model and any random state.
        loader: the run's loader; the first rows of its source are used.
    """
    encoder = getattr(optimization.model, "encoder", None)
    found: dict[str, Any] = {
        "parameters": _count(optimization.model),
        "encoder_parameters": _count(encoder) if isinstance(encoder, nn.Module) else None,
        "batch_size": optimization.batch_size,
        "processes": getattr(loader, "world", 1),
    }
    if not isinstance(loader, Loader):
        say(f"FLOPs are not counted: {type(loader).__name__} does not say how large its batches are")
        return found
    kinds = loader.kinds()
    try:
        with _as_it_was(), _told_after(PATIENCE):
            found["groups"] = optimization.groups()
            counted = [(n, *_flops(optimization, loader, indices)) for n, indices in kinds]
    except Exception as error:  # any error of a procedure or a model: a run trains without knowing its costs
        say(f"FLOPs are not counted, {type(optimization).__name__} cannot step by itself: {error}".splitlines()[0])
        return found
    (_, rows, flops), *short = counted
    an_epoch = sum(n * flops for n, _, flops in counted) / sum(n * rows for n, rows, _ in counted)
    found |= {"batch_rows": rows, "flops_per_iteration": flops, "flops_per_sample": an_epoch}
    return found | ({"short_rows": short[0][1], "short_flops": short[0][2]} if short else {})


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _flops(optimization: Optimization, loader: Loader, indices: Indices) -> tuple[int, float]:
    """Rows and FLOPs of an iteration on a batch of these rows, a mean over the kinds of iterations."""
    in_parts = optimization.execution.in_parts
    device = torch.device("cpu") if in_parts else loader.device  # where whole weights have room
    with in_file(in_parts):
        copy = with_same_weights(optimization).to(device)
    if in_parts:  # a gradient is forgotten as soon as it is there
        for parameter in copy.parameters():
            parameter.register_post_accumulate_grad_hook(lambda parameter: setattr(parameter, "grad", None))
    copy.players = copy.grouped_players()
    batch: Batch = whole_batch(loader.source, indices, device=device)
    copy.rows = len(batch["index"])
    total = 0.0
    for updates, share in copy.kinds():
        copy.counters["updates"] = updates
        with Counter() as counter:
            copy.step(batch)  # optimizers do not step: nothing is accumulated yet
        total += share * counter.total
    return count_rows(batch), total


@contextmanager
def _told_after(seconds: float) -> Iterator[None]:
    """Says what is done here if it takes longer."""
    timer = Timer(seconds, say, ["counting the operations of a step before training, which takes as long as a step"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Restores all random state."""
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with seeded(0), torch.enable_grad():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


class Counter(TorchDispatchMode):
    """Sums torch's counts of its operations. Unlike torch's own counter it also follows gradients of gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out
