"""The command `frame`; `python train.py` is `frame train`. Nothing here imports torch before a run needs it."""

import sys
from collections.abc import Callable, Sequence

from frame.commands import help as helps
from frame.commands.answering import answered
from frame.commands.hydra_answers import HYDRA_FLAGS, complete
from frame.common.errors import UserError, choices


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prints = not words or words[0] in ("help", "--version") or any(word.split("=")[0] in HYDRA_FLAGS for word in words)
    prints = prints or words[0] in helps.names() and helps.command(words[0]).prints
    return answered(_dispatch, words, prints)


def _dispatch(words: list[str]) -> int:
    if "-sc" in words or "--shell-completion" in words:
        return complete(words)
    if not words or words[0] in ("--help", "-h", "help"):
        print(helps.overview())
        return 0
    if words[0] == "--version":
        from frame import __version__

        print(__version__)
        return 0
    if words[0] not in helps.names():
        raise UserError(choices(words[0], helps.names(), kind="command"))
    if words[0] != "train" and any(word in ("--help", "-h") for word in words[1:]):
        print(helps.help_of(helps.command(words[0])))
        return 0
    run: Callable[[list[str]], int] = helps.module(words[0]).run
    return run(words[1:])
