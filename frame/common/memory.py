"""Amounts of memory: those that a config names, and what this process may take."""

import os
import re
from pathlib import Path

from frame.common.errors import UserError

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
AUTO = "auto"


def bytes_of(given: str | float, key: str) -> int:
    """The bytes of '8 GB', '500 MB' or a number of bytes; of 'auto' half of the memory that this process may take.

    Raises:
        UserError: it is none of these; `key` names it.
    """
    if given == AUTO:
        return limit() // 2
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+]?[0-9]+)?)\s*([kMGT]?B)?\s*", str(given), re.IGNORECASE)
    if found is None:
        raise UserError(f"{key}={given}: give an amount such as 8 GB or 500 MB, or auto for half of the memory")
    return int(float(found[1]) * UNITS[(found[2] or "B").upper()])


def shown(n_bytes: float) -> str:
    """'3.2 GB'."""
    unit, size = next(((u, s) for u, s in reversed(UNITS.items()) if n_bytes >= s), ("B", 1))
    return f"{n_bytes / size:.3g} {unit}"


def limit() -> int:
    """The memory of the machine, or of the control group of this process if that is less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _limits():
        try:
            found.append(int(file.read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return min(found)


def _limits() -> list[Path]:
    """Files that may hold the limits of this process's control groups, of both versions."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, kind, group = line.split(":", 2)
        if kind == "":
            files += [Path(f"/sys/fs/cgroup{group}/memory.max"), Path("/sys/fs/cgroup/memory.max")]
        elif "memory" in kind.split(","):
            top = Path("/sys/fs/cgroup/memory")
            files += [top / group.strip("/") / "memory.limit_in_bytes", top / "memory.limit_in_bytes"]
    return files
