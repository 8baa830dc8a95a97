"""The command `frame`; `python train.py` is `frame train`. Nothing here imports torch before a run needs it."""

import importlib
import sys
from collections.abc import Callable, Sequence

from frame.commands.answering import answered
from frame.commands.hydra_answers import HYDRA_FLAGS, complete
from frame.commands.parser import COMMANDS
from frame.common.errors import UserError, choices

NAMES = ("train", "sweep", "compare", "plot", "report", "evaluate", "list", "show", "new", "export")  # one file each
USAGE = """frame: representation-learning experiments composed from YAML

  frame train +experiment=digits_VAE        train (python train.py does the same)
  frame train resume=runs/...               resume a run
  frame evaluate runs/... evaluate_on=test  a run's own evaluations, on another split
  frame evaluate 'runs/*/*' evaluation=[...] other evaluations, of many runs; finished ones are skipped
  frame list runs state=finished sort=...   a table of runs, filtered and sorted by any key or result
  frame show runs/...                       a run's parts, state and results
  frame export runs/... format=onnx         a folder for others: weights, config, source, results, model card
  frame new model MyVAE                     a Python file, its YAML and its test; also data, evaluation, ...
  frame sweep sweeps/VAE_MNIST.yml seeds=5  the runs of a W&B sweep file; again: resumes them
  frame compare runs/studies/... metrics=[...] a table over seeds: intervals, paired differences
  frame plot runs/studies/... x=params.beta y=... a figure with its numbers; also over seconds, epochs, ...
  frame report runs/studies/... out=report.html a page with tables, figures, pictures, configs
  frame train --help                        experiments and options
  eval "$(frame -sc install=bash)"          tab completion (also zsh, fish)
"""
PRINTING = ("help", "--version", "list", "show", "compare")  # commands whose work is their output


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prints = not words or words[0] in PRINTING or any(word.split("=")[0] in HYDRA_FLAGS for word in words)
    return answered(_dispatch, words, prints)


def _dispatch(words: list[str]) -> int:
    if "-sc" in words or "--shell-completion" in words:
        return complete(words, NAMES)
    if not words or words[0] in ("--help", "-h", "help"):
        print(USAGE)
        return 0
    if words[0] == "--version":
        from frame import __version__

        print(__version__)
        return 0
    if words[0] not in NAMES:
        raise UserError(choices(words[0], NAMES, kind="command"))
    if words[0] != "train" and any(word in ("--help", "-h") for word in words[1:]):
        print(COMMANDS[words[0]].usage)
        return 0
    run: Callable[[list[str]], int] = importlib.import_module(f"frame.commands.{words[0]}").run
    return run(words[1:])
