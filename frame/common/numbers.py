"""Numbers in texts."""

import re


def counted(n: float, things: str) -> str:
    """'1 run', '3 runs', '1,000 runs': a number, with a thousands separator, and what it counts."""
    text = f"{n:,d}" if isinstance(n, int) else f"{n:,.1f}".removesuffix(".0")
    return f"{text} {things.removesuffix('s') if text == '1' else things}"


def plural(thing: str) -> str:
    """'pictures' for 'picture', and 'series' for 'series'."""
    return thing if thing.endswith("s") else f"{thing}s"


def unsigned_zero(text: str) -> str:
    """'0.0' for '-0.0' and '+0.0': a zero that is rounded has no sign."""
    return re.sub(r"^[+-](?=[0.]+$)", "", text)
