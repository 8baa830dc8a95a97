"""`frame train` and `python train.py`: one run, new or resumed."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands.hydra_answers import HYDRA_FLAGS, ask_hydra
from frame.commands.parser import Command, Key, own_folder, parse
from frame.commands.readers import one_of, text
from frame.common.errors import UserError
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "train",
    "",
    "one run, new or resumed; python train.py is the same",
    {
        "resume": Key(text, "continues a run; train_for=... extends it", "a new run", "RUN", "runs"),
        "source": Key(
            one_of("trained", "now"), "of your own modules, with resume=: as they were, or as now", "trained"
        ),
    },
    (
        ("frame train +experiment=MNIST_VAE params.beta=0.1", "one value"),
        ("frame train model=VAE data=FashionMNIST architectures=conv", "parts, with or without an experiment"),
        ("frame train +experiment=MNIST_VAE train_for='1 hour 30 minutes'", "or 20 epochs, 500 iterations, 90 seconds"),
        ("frame train +experiment=MNIST_VAE 'logging=[wandb,tensorboard]'", "or csv: only plain files"),
        ("frame train +experiment=MNIST_VAE '~callbacks.elbo_valid'", "without it; callbacks=null removes all"),
        ("frame train +experiment=MNIST_VAE debug=fast", "one iteration on one batch, before a long run"),
        ("frame train +experiment=MNIST_VAE --cfg job", "shows the composed config and stops"),
        ("frame train resume=runs/MNIST_VAE/2026-11-28_10-00-00", "continues a run"),
    ),
    others="any key of the config; +key=value adds one, ~key removes one",
    places=(0, 0),
)


def run(words: Sequence[str]) -> int:
    """`frame train` and `python train.py`."""
    if any(word in ("-m", "--multirun") for word in words):
        raise UserError(
            "-m: a sweep is a process per run here: write a sweep file, such as sweeps/VAE_MNIST.yml, for `frame sweep`"
        )
    if any(word.split("=")[0] in HYDRA_FLAGS for word in words):
        overrides, folder = own_folder(words)
        use_own_folder(folder)
        return ask_hydra(overrides)
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir)
    if "resume" in typed.options:
        from frame.engine.experiment import resume

        return resume(Path(typed.options["resume"]), typed.others, source=typed.options.get("source", "trained"))
    if "source" in typed.options:
        raise UserError("source= goes with resume=: a new run takes the source as it is now")
    from frame.engine.start import start

    return start(typed.others, typed.config_dir)
