"""`frame sweep`: many runs from one file."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands import train
from frame.commands.answering import answered
from frame.commands.parser import Command, Key, parse
from frame.commands.readers import folder, seeds, text, truth, whole
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "sweep",
    "FILE",
    "the runs of a W&B sweep file, on this machine; the same command continues where it stopped",
    {
        "seeds": Key(seeds, "how many seeds each point is trained with, or which: [1,7]", "that of the experiment"),
        "jobs": Key(whole, "runs at the same time", "1"),
        "run_cap": Key(whole, "most points that are tried", "as the file says"),
        "folder": Key(folder, "the study's folder", "runs/studies/, and the file's name"),
        "launcher": Key(text, "submitit or ray: who starts the runs", "this machine", "submitit"),
        "retry": Key(truth, "train failed runs again", "false"),
        "again": Key(truth, "a further study of the same file, in a folder of its own", "false"),
    },
    (
        ("frame sweep sweeps/VAE_MNIST.yml seeds=3 jobs=2", "three seeds a point, two runs at once"),
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
