"""Which Python files are the user's own: not those of the standard library, of frame, or of a package manager."""

import os
import sysconfig
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]  # frame itself
INSTALLED = {Path(sysconfig.get_paths()[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}


@cache
def is_own(file: str) -> bool:
    """Whether a file is the user's own. Names such as '<frozen importlib>' are not."""
    path = Path(os.path.realpath(file))
    if not os.path.isabs(file) or path.is_relative_to(PACKAGE) or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    # site-packages, which lies in the standard library's folder, was treated above
    return not any(path.is_relative_to(folder) for folder in INSTALLED)
