"""Commands that can be pasted into a shell."""

import re
import shlex
from pathlib import Path


def pasted(*words: str | Path) -> str:
    """The words of a command, quoted for a shell. A path never looks like an option."""
    return " ".join(
        _quoted(f"./{word}" if isinstance(word, Path) and str(word)[:1] == "-" else str(word)) for word in words
    )


def _quoted(word: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", word) is None:
        return shlex.quote(word)
    plain = word.replace("\\", "\\\\").replace("'", "\\'")  # one line, in the quoting of bash and zsh
    return "$'" + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\{ord(found[0]):03o}", plain) + "'"
