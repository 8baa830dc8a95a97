"""Escapes a run's texts for files that others open, so that they are shown and never run."""

import math
import re
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet evaluates a cell that begins with one of these


def markdown(value: Any) -> str:
    """One line of Markdown that shows the text, also in a table's cell: no HTML, no link, no further cell."""
    text = " ".join(str(value).split())
    for sign in ("\\", "`", "|"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;").replace("](", "]\\(").replace("][", "]\\[")


def code(value: Any) -> str:
    """A name in backticks. A text with characters that no name has is escaped as Markdown."""
    text = str(value)
    return f"`{text}`" if re.fullmatch(r"[\w./ =+:@,-]+", text) else markdown(text)


def cell(value: Any) -> Any:
    """A value for a CSV file. A text that a spreadsheet would evaluate gets an apostrophe; numbers are not changed."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        return value if math.isfinite(float(value)) and value == value.strip() else f"'{value}"
    except ValueError:
        return f"'{value}"


def latex(text: str) -> str:
    """The text in one line, escaped for LaTeX."""
    table = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "−": "$-$",
    }
    table |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(table.get(letter, letter) for letter in " ".join(text.split()))
