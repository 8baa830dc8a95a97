"""Texts that a run holds, in files for others: as they are written, and nothing that a reader's program would run."""

import math
import re
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # with these a cell of a table begins to compute


def markdown(value: Any) -> str:
    """One line of Markdown that shows the text, in a table's cell as well: no HTML, no link, no second cell."""
    text = " ".join(str(value).split())
    for sign in ("\\", "`", "|"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;").replace("](", "]\\(").replace("][", "]\\[")


def code(value: Any) -> str:
    """A name in backticks; one with signs that no name has is shown as a text."""
    text = str(value)
    return f"`{text}`" if re.fullmatch(r"[\w./ =+:@,-]+", text) else markdown(text)


def cell(value: Any) -> Any:
    """A value of a CSV file: a text that a spreadsheet would compute gets an apostrophe before it, a number stays."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        return value if math.isfinite(float(value)) and value == value.strip() else f"'{value}"
    except ValueError:
        return f"'{value}"


def latex(text: str) -> str:
    """Text that LaTeX prints as it is, in one line."""
    table = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "−": "$-$",
    }
    table |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(table.get(letter, letter) for letter in " ".join(text.split()))
