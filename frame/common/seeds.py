"""Torch's random state."""

import torch


def seed_torch(seed: int) -> None:
    """Seeds torch on the CPU, and on the GPU in use."""
    # torch.manual_seed formats a stack trace for each unused device, which takes 0.1 ms a step
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
