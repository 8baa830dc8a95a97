"""Imports from the working folder for commands that read runs: only packages that the user names.

Training has that folder on `sys.path`. A command that reads may be started in a stranger's folder, whose numpy.py must
not be imported as numpy.
"""

import importlib.machinery
import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

from frame.composition.folders import own_folder


class Beside:
    """Finds the named packages in a folder, after all installed ones; then also the modules beside them."""

    def __init__(self, folder: Path, names: Collection[str]) -> None:
        self.folder, self.names, self.in_use = str(folder), {name.split(".")[0] for name in names}, False

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is not None or not (self.in_use or name in self.names):
            return None  # submodules are found by the package's own path
        spec = importlib.machinery.PathFinder.find_spec(name, [self.folder])
        self.in_use |= spec is not None
        return spec


def trust(names: Collection[str]) -> None:
    """Makes `packages=[...]` importable from the working folder."""
    if names:
        sys.meta_path.append(Beside(own_folder(), names))
