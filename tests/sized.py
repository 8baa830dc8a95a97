"""A composed config with the sizes of its data, as a run has it."""

import torch
from omegaconf import DictConfig

from frame.engine.experiment import build_data


def sized(config: DictConfig) -> DictConfig:
    """The config itself, to which `sizes` were added. Random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        build_data(config)
    return config
