"""Modules of the folder where a command is started, for commands that look at runs: only what the user trusts by name.

Training has that folder on `sys.path`. A command that looks may be started in a stranger's folder, whose numpy.py must
not be taken for numpy.
"""

import importlib.machinery
import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any


class Beside:
    """Finds the named packages in a folder, behind all that is installed, and once one is there what lies beside it."""

    def __init__(self, folder: Path, names: Collection[str]) -> None:
        self.folder, self.names, self.in_use = str(folder), {name.split(".")[0] for name in names}, False

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is not None or not (self.in_use or name in self.names):
            return None  # a part of a package is found by the package's own path
        spec = importlib.machinery.PathFinder.find_spec(name, [self.folder])
        self.in_use |= spec is not None
        return spec


def trust(names: Collection[str]) -> None:
    """Lets `packages=[...]` lie in the working folder."""
    if names:
        sys.meta_path.append(Beside(Path.cwd(), names))
