"""`frame try`: a first look at a folder of pictures."""

import time
from collections.abc import Sequence
from pathlib import Path

from frame.commands.parser import Command, Key, parse
from frame.commands.readers import above_zero, folder
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "try",
    "FOLDER",
    "a first look at a folder of pictures: what is in it, two methods, their numbers and pictures",
    {
        "minutes": Key(above_zero, "about how long it takes: three fifths are training", "10"),
        "out": Key(folder, "the folder for its runs and its page", "runs/try_, and the folder's name"),
    },
    (
        ("frame try photos", "ten minutes on a laptop's CPU"),
        ("frame try photos minutes=2", "a shorter look"),
    ),
    places=(1, 1),
    needs="try needs one folder of pictures",
    among="runs",
)


def run(words: Sequence[str]) -> int:
    """`frame try`."""
    started = time.monotonic()
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir, trains=False)
    from frame.analysis.first_look import first_look

    root = Path(typed.places[0]).expanduser()
    out = typed.options.get("out") or Path("runs") / f"try_{root.resolve().name}"
    print("\n".join(first_look(root, typed.options.get("minutes", 10.0), out)))
    print(f"\ntook {(time.monotonic() - started) / 60:.1f} minutes")
    return 0
