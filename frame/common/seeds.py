"""Random states outside of a `torch.Generator`: torch's own, numpy's and Python's."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_torch(seed: int) -> None:
    """Seeds torch on the CPU, and on the GPU in use."""
    # torch.manual_seed formats a stack trace for each unused device, which takes 0.1 ms a step
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)


@contextmanager
def random_states(device: torch.device | None = None) -> Iterator[Callable[[int], None]]:
    """Yields a function that seeds Python, numpy and torch on the CPU, and restores their states at the end.

    Args:
        device: an accelerator whose state belongs to them; None or a CPU: only those on the CPU.
    """
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    before = random.getstate(), np.random.get_state(), [generator.get_state() for generator in generators]

    def seed_all(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        for generator in generators:
            generator.manual_seed(seed)  # torch.manual_seed would seed all accelerators, too

    try:
        yield seed_all
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        for generator, state in zip(generators, before[2], strict=True):
            generator.set_state(state)
