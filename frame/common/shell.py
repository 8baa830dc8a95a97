"""What is said of a record, and commands that can be pasted; nothing here imports torch."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def pasted(*words: str | Path) -> str:
    """Words of a command such that a shell takes each as it is; a path never looks like an option."""
    return " ".join(
        _quoted(f"./{word}" if isinstance(word, Path) and str(word)[:1] == "-" else str(word)) for word in words
    )


def _quoted(word: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", word) is None:
        return shlex.quote(word)
    plain = word.replace("\\", "\\\\").replace("'", "\\'")  # in one line, as bash and zsh read it
    return "$'" + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\{ord(found[0]):03o}", plain) + "'"


def remarks(record: Mapping[str, Any]) -> str:
    """What is to be known beside a record's number: an interval, a bound, and whether it has reached its limit."""
    interval, bound = record.get("interval"), record.get("bound")
    said = [f"95 % {interval[0]:.5g} to {interval[1]:.5g}"] if interval else []
    said += [{"neither": "no bound"}.get(bound, f"{bound} bound")] if bound else []
    said += ["saturated: there may be far more"] if record.get("saturated") else []
    return "".join(f", {part}" for part in said)
