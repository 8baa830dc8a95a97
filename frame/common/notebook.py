"""A line in a notebook's cell that is replaced by the next one, without a terminal's control characters."""

import sys
from typing import Any


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. Imports nothing."""
    ask = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return ask is not None and hasattr(ask(), "kernel")


class Line:
    """One line below a cell, which each `show` replaces. The notebook keeps the last one."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        from IPython.display import display

        content = {"text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
