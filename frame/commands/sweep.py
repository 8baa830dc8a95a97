"""`frame sweep`: many runs from one file."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands import train
from frame.commands.answering import answered
from frame.commands.parser import COMMANDS, parse
from frame.composition.folders import use_own_folder


def run(words: Sequence[str]) -> int:
    """`frame sweep FILE [seeds=5] [jobs=2] [run_cap=20] [folder=...] [launcher=submitit] [key=value of runs ...]`."""
    typed = parse(COMMANDS["sweep"], words)
    use_own_folder(typed.config_dir)
    from frame.sweeps.sweep import Options, sweep

    options = Options(
        **typed.options,
        launcher_options=typed.families["launcher"],
        overrides=tuple(typed.others),
        config_dir=typed.config_dir,
    )
    return sweep(Path(typed.places[0]), options, train_here)


def train_here(words: Sequence[str]) -> int:
    """Runs `frame train` in this process."""
    return answered(train.run, list(words))
