"""What commands make of the words behind them; nothing here imports torch."""

from collections.abc import Sequence
from pathlib import Path

from frame.mistakes import Mistake


def listed(text: str) -> list[str]:
    """'[a,b]' or 'a,b' as a list of names."""
    return [name.strip() for name in text.strip("[]").split(",") if name.strip()]


def is_place(word: str) -> bool:
    """Whether a word is a folder or pattern, which may have '=' in its name as a sweep's cells do, and no key=value."""
    key, equals, _ = word.partition("=")
    return not equals or "/" in key or Path(word).exists()


def whole(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1 and name != "seeds":
        raise Mistake(f"{name}={text}: write a whole number, at least 1")
    return int(text)


def own_folder(words: Sequence[str]) -> tuple[list[str], Path | None]:
    """Takes --config-dir DIR out of the words."""
    rest: list[str] = []
    folder = None
    iterator = iter(words)
    for word in iterator:
        if word in ("--config-dir", "-cd"):
            folder = Path(next(iterator, ""))
        elif word.startswith("--config-dir="):
            folder = Path(word.split("=", 1)[1])
        else:
            rest.append(word)
    return rest, folder
