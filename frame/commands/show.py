"""`frame show`: a run's parts, its state and its results."""

import math
from collections.abc import Sequence

from frame.commands.parser import Command, parse

COMMAND = Command(
    "show",
    "RUN [RUN ...]",
    "a run's parts, its state, its results and its pictures",
    examples=(
        ("frame show runs/digits_VAE/2026-11-28_10-00-00", "one run"),
        ("frame show runs/digits_VAE", "all runs in a folder"),
    ),
    places=(1, math.inf),
    needs="show needs a run",
    among="runs",
    prints=True,
)


def run(words: Sequence[str]) -> int:
    """`frame show`."""
    typed = parse(COMMAND, words)
    from frame.runs.listing import each, find
    from frame.runs.listing import show as shown

    print("\n\n".join(each(find(typed.places), shown)))
    return 0
