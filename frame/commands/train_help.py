"""`frame train --help`: what can be chosen, from the names of the config files. Hydra's own takes twice as long."""

import textwrap
from pathlib import Path

from frame.composition.folders import config_folders, options

WIDTH = 100
TEXT = """frame train +experiment=NAME [key=value ...]      (python train.py is the same)

{groups}

For example
  +experiment=MNIST_VAE params.beta=0.1           one value
  model=VAE data=FashionMNIST architectures=conv  parts, with or without an experiment
  train_for="1 hour 30 minutes"                   or 20 epochs, 500 iterations, 90 seconds
  logging=[wandb,tensorboard]                     or csv: only plain files
  callbacks.elbo_valid.evaluate_every="1 epoch"   ~callbacks.elbo_valid and callbacks=null remove
  debug=fast                                      one iteration on one batch, before a long run
  resume=runs/...                                 continues a run; train_for=... extends it
  --cfg job                                       shows the composed config and stops
  --hydra-help                                    Hydra's own flags"""


def train_help() -> str:
    """The usage of `frame train`, with all config groups and their options, in the user's folder and in ours."""
    return TEXT.format(groups="\n".join(_described(group) for group in _groups()))


def _groups() -> list[str]:
    """The folders of config/ that have YAML files, such as 'architectures/encoder'."""
    folders: set[Path] = set()
    for root in config_folders():
        folders |= {file.parent.relative_to(root) for file in root.glob("*/**/*.yaml")}
    return sorted(folder.as_posix() for folder in folders)


def _described(group: str) -> str:
    listed = f"{group}: {', '.join(options(group))}"
    return textwrap.fill(listed, WIDTH, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
