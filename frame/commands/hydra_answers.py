"""What flags of Hydra's answer: --help (ours), --cfg job, --info, tab completion."""

import os
import sys
from collections.abc import Sequence
from typing import Any

# What answers is imported by the functions, since --help needs none of it
HYDRA_FLAGS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--resolve")


def ask_hydra(overrides: Sequence[str]) -> int:
    """Answers --help, --cfg job, --info and completion. It never runs the job."""
    if {"--help", "-h"} & {*overrides}:
        from frame.commands.train_help import train_help

        print(train_help())
        return 0
    import hydra
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from frame.composition.compose import MADE, compose, hydra_words, normalise, root
    from frame.composition.folders import config_folder
    from frame.composition.stored import resolved

    store: Any = ConfigStore.instance()
    store.__deepcopy__ = lambda memo: store  # Hydra copies it for each group that it lists, which takes 1.3 s
    values = [word for word in overrides if not word.startswith("-")]
    flags = [word for word in overrides if word.startswith("-")]
    # the word after --cfg, --info and -sc belongs to it
    for flag in ("--cfg", "-c", "--info", "-i", "-sc", "--shell-completion"):
        if flag in overrides and "=" not in flag:
            after = list(overrides).index(flag) + 1
            if after < len(overrides) and overrides[after] in values:
                values.remove(overrides[after])
                flags.insert(flags.index(flag) + 1, overrides[after])
    if any(flag.startswith(("-sc", "--shell-completion")) for flag in flags):
        words = normalise(values)
    else:
        config = compose(values)  # raises an error of one line
        if _asks_for_job(flags):  # ours, since Hydra knows neither what is chosen by itself nor evaluations by name
            print(OmegaConf.to_yaml(OmegaConf.create(resolved(config)) if "--resolve" in flags else config))
            return 0
        words = hydra_words(values)
    sys.argv = [sys.argv[0], *flags, *(word for word in words if root(word) not in MADE)]

    @hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
    def answer(config: object) -> None: ...

    answer()
    return 0


def _asks_for_job(flags: Sequence[str]) -> bool:
    return {"job", "--cfg=job"} & {*flags} != set() and {*flags} <= {"--cfg", "-c", "job", "--cfg=job", "--resolve"}


def complete(words: Sequence[str]) -> int:
    """Tab completion: config keys of `frame train` from Hydra, everything else from what the commands declare."""
    from frame.commands.completion import completions
    from frame.composition.folders import use_own_folder

    use_own_folder()
    line = os.environ.get("COMP_LINE", "")
    if any(word.startswith("query=") for word in words):
        is_script = line.split(" ")[:1] == ["python"]  # python train.py ...
        point = int(os.environ.get("COMP_POINT") or len(line))
        upto = line[:point]
        found = completions(upto.replace("python ", "", 1).replace("train.py", "frame train", 1) if is_script else upto)
        if found is not None:
            print("\n".join(found))
            return 0
        if not is_script:  # Hydra knows no subcommand
            os.environ["COMP_LINE"] = upto.replace(" train", "", 1)
    return ask_hydra([word for word in words if word != "train"])
