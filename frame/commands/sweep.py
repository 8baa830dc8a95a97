"""`frame sweep`: many runs from one file."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from frame.commands import train
from frame.commands.answering import answered
from frame.commands.parser import Command, Key, parse
from frame.commands.readers import auto_or_whole, folder, seeds, text, truth, whole
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "sweep",
    "FILE",
    "the runs of a W&B sweep file, on this machine; the same command continues where it stopped",
    {
        "seeds": Key(seeds, "how many seeds each point is trained with, or which: [1,7]", "that of the experiment"),
        "jobs": Key(whole, "runs at the same time", "1"),
        "stack": Key(
            auto_or_whole, "runs that one process trains as one program; auto: up to 16, if that is quicker", "1"
        ),
        "run_cap": Key(whole, "most points that are tried", "as the file says"),
        "folder": Key(folder, "the study's folder", "runs/studies/, and the file's name"),
        "launcher": Key(text, "submitit or ray: who starts the runs", "this machine", "submitit"),
        "retry": Key(truth, "train failed runs again", "false"),
        "again": Key(truth, "run finished runs again if their code or config has changed", "false"),
    },
    (
        ("frame sweep sweeps/VAE_MNIST.yml seeds=3 jobs=2", "three seeds a point, two runs at once"),
        ("frame sweep sweeps/VAE_MNIST.yml seeds=16 stack=16", "small networks: sixteen runs in one process"),
        ("frame sweep sweeps/VAE_MNIST.yml run_cap=5 train_for='2 epochs' logging=csv", "a short look"),
    ),
    families={"launcher": "an option of the launcher: launcher.timeout_min=60"},
    others="key=value of the runs, as after frame train",
    places=(1, 1),
    needs="sweep needs one file, or a study's folder",
)


def run(words: Sequence[str]) -> int:
    """`frame sweep`."""
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir)
    from frame.sweeps.launchers import Trains
    from frame.sweeps.sweep import Options, sweep

    options = Options(
        **typed.options,
        launcher_options=typed.families["launcher"],
        overrides=tuple(typed.others),
        config_dir=typed.config_dir,
    )
    return sweep(Path(typed.places[0]), options, Trains(train_here, train_stack))


def train_here(words: Sequence[str]) -> int:
    """Runs `frame train` in this process."""
    return answered(train.run, list(words))


def train_stack(
    runs: Sequence[tuple[Sequence[str], IO[str]]], ended: Callable[[int, int], None], if_quicker: bool
) -> None:
    """Runs `frame train` for each of some words as members of a stack; see `frame.engine.members`."""
    from frame.engine.members import Member, train_together
    from frame.runs.provenance import code_looked_at_once

    with code_looked_at_once():
        members = [Member(partial(answered, _train_member, list(words)), stream) for words, stream in runs]
        train_together(members, ended, if_quicker)


def _train_member(words: list[str]) -> int:
    from frame.engine.members import NotStackable
    from frame.sweeps.launchers import ALONE

    try:
        return train.run(words)
    except NotStackable as reason:
        print(f"frame: trained in a process of its own: {reason}", file=sys.stderr)
        return ALONE
