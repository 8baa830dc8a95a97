"""What commands make of the words behind them, and say of a record; nothing here imports torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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


def remarks(record: Mapping[str, Any]) -> str:
    """What is to be known beside a record's number: an interval, a bound, and whether it has reached its limit."""
    interval, bound = record.get("interval"), record.get("bound")
    said = [f"95 % {interval[0]:.5g} to {interval[1]:.5g}"] if interval else []
    said += [{"neither": "no bound"}.get(bound, f"{bound} bound")] if bound else []
    said += ["saturated: there may be far more"] if record.get("saturated") else []
    return "".join(f", {part}" for part in said)
