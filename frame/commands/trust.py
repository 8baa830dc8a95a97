"""`frame trust`: the folders whose modules serve the runs that were trained in them."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands.parser import Command, Key, parse
from frame.commands.readers import truth
from frame.common import trust

COMMAND = Command(
    "trust",
    "[FOLDER ...]",
    "folders whose modules serve the runs that were trained in them; alone, lists them",
    {"remove": Key(truth, "trust these folders no longer", "false")},
    (
        ("frame trust ~/thesis", "modules of this folder serve the runs that were trained in it"),
        ("frame trust ~/thesis remove=true", "no longer"),
    ),
    prints=True,
)


def run(words: Sequence[str]) -> int:
    """`frame trust`."""
    typed = parse(COMMAND, words)
    folders = [Path(place).expanduser() for place in typed.places]
    change = trust.distrust if typed.options.get("remove", False) else trust.trust
    for folder in folders:
        change(folder)
    known = trust.read().folders
    width = max(map(len, known), default=0)
    for folder_, how in sorted(known.items()):
        print(f"{folder_:{width}}  {'you trained in it' if how == trust.TRAINED else 'you trusted it'}")
    if not known:
        print("no folder is trusted: training in a folder trusts it, and so does `frame trust FOLDER`")
    return 0
