"""Texts for people from jinja2's templates: whatever a template fills in is escaped, unless it is marked as safe."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frame.common import escaping


def rendered(file: Path, **given: Any) -> str:
    """The text of a template; see `pieces`."""
    return "".join(pieces(file, **given))


def pieces(file: Path, **given: Any) -> Iterator[str]:
    """The text of a template, .html or .md, with these values filled in, piece by piece.

    Args:
        file: the template.
        given: its values. A text with `__html__`, such as `safe`, stays as it is; any other is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # slow to import, and rarely wanted

    environment = Environment(
        loader=FileSystemLoader(file.parent),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_of_markdown if file.suffix == ".md" else None,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = lambda value: safe(escaping.code(value))
    return environment.get_template(file.name).generate(given)


def safe(text: str) -> Any:
    """A text that a template takes as it is."""
    from markupsafe import Markup

    return Markup(text)


def _of_markdown(value: Any) -> Any:
    """Escaped for Markdown, so that jinja2 does not escape it for HTML."""
    return value if hasattr(value, "__html__") else safe(escaping.markdown(value))
