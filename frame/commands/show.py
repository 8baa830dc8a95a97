"""`frame show`: a run's parts, its state and its results."""

from collections.abc import Sequence

from frame.commands.parser import COMMANDS, parse


def run(words: Sequence[str]) -> int:
    """`frame show RUN [RUN ...]`."""
    typed = parse(COMMANDS["show"], words)
    from frame.runs.listing import each, find
    from frame.runs.listing import show as shown

    print("\n\n".join(each(find(typed.places), shown)))
    return 0
