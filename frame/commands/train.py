"""`frame train` and `python train.py`: one run, new or resumed."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands.hydra_answers import HYDRA_FLAGS, ask_hydra
from frame.commands.parser import COMMANDS, own_folder, parse
from frame.common.errors import UserError
from frame.composition.folders import use_own_folder


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
    typed = parse(COMMANDS["train"], words)
    use_own_folder(typed.config_dir)
    if "resume" in typed.options:
        from frame.engine.experiment import resume

        return resume(Path(typed.options["resume"]), typed.others)
    from frame.composition.compose import compose
    from frame.composition.settings import check_parts, check_read

    config = compose(typed.others)
    check_read(config)  # errors of composition are found before torch is imported
    check_parts(config)
    from frame.engine import experiment

    return experiment.train(config, typed.others)
