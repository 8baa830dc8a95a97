"""The start of a run from its words: compose, check, then train. Errors in the words are found without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from frame.composition.compose import compose
from frame.composition.folders import use_own_folder
from frame.composition.settings import check_parts, check_read

if TYPE_CHECKING:
    from frame.engine.objects import Objects


def start(words: Sequence[str], config_dir: Path | None = None, objects: "Objects | None" = None) -> int:
    """Trains a new run; returns the exit code.

    Args:
        words: as they are typed behind `frame train`.
        config_dir: the user's own config folder; None takes ./config if there is one.
        objects: parts that are objects of Python, see `frame.engine.experiment.train`.

    Raises:
        UserError: nothing was trained and no folder was made.
    """
    use_own_folder(config_dir)
    config = compose(words, objects.nodes if objects is not None else None)
    check_read(config)
    check_parts(config)
    from frame.engine import experiment

    return experiment.train(config, words, objects)
