"""Checks that data are those that a run was trained on: the names of classes, and the rows of each split."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError

SAMPLED = 64  # rows whose values are compared
FLOATS = 16  # the same for rows of floats
KINDS = {"labels": "labels", "x": "pictures", "values": "values", "files": "files (by name and size)"}


class DataChanged(UserError):
    """The data are not those that a run was trained on."""


def identity_of(source: Any) -> dict[str, Any]:
    """'rows', and cheap hashes of all labels and of some rows' values if they are in memory."""
    found: dict[str, Any] = {"rows": len(source)}
    x, y = getattr(source, "x", None), getattr(source, "y", None)
    if isinstance(y, Tensor) and y.dtype == torch.int64:
        found["labels"] = digest(y.cpu().numpy().tobytes())
    return found | (pixels(x, range(len(x))) if isinstance(x, Tensor) else {})


def pixels(x: Tensor, rows: Sequence[int]) -> dict[str, Any]:
    """For some of the rows: a hash of whole numbers ('x'), or one number for each row of floats ('values').

    Floats may differ in their last bits between machines that compute them, so a weighted mean of each row is compared
    with a tolerance.
    """
    if len(rows) == 0 or x.dim() == 0:
        return {}
    return fingerprint(x[torch.tensor([rows[i] for i in spread(len(rows)).tolist()], device=x.device)].cpu())


def spread(n: int) -> np.ndarray:
    """The rows of n whose values are compared."""
    return torch.linspace(0, n - 1, min(SAMPLED, n)).round().long().numpy()


def fingerprint(some: Tensor) -> dict[str, Any]:
    """A hash of rows of whole numbers, or one number for each of the first rows of floats."""
    if not some.is_floating_point():
        return {"x": digest(str(list(some.shape[1:])).encode(), some.numpy().tobytes())}
    flat = some.reshape(len(some), -1)[:FLOATS].double().nan_to_num()
    weights = torch.cos(torch.arange(flat.shape[1], dtype=torch.float64))  # no two elements have the same weight
    return {"values": [float(f"{value:.6g}") for value in ((flat * weights).sum(1) / max(1, flat.shape[1])).tolist()]}


def digest(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:16]


def compare_classes(kept: Mapping[str, Any], classes: Sequence[str] | None, n_classes: int | None, owner: str) -> None:
    """Raises DataChanged if the classes have other names, another order or another number."""
    before = kept.get("classes")
    if before is not None and classes is not None:
        if list(before) == list(classes):
            return
        gone = [name for name in before if name not in set(classes)]
        new = [name for name in classes if name not in set(before)]
        changes = [f"{word}: {listed(names)}" for word, names in (("gone", gone), ("new", new)) if names]
        how = "; ".join(changes) or "the same in another order"
        raise DataChanged(
            f"{owner} has the classes {listed(before)}, the data now {listed(classes)} ({how}), so labels mean others: "
            "give it the data that it was trained on"
        )
    before, now = kept.get("n_classes"), n_classes
    if before is not None and now is not None and before != now:
        raise DataChanged(f"{owner} has {before} classes, the data now {now}: give it the data that it was trained on")


def compare_split(kept: Mapping[str, Any], split: str, found: Mapping[str, Any], owner: str) -> None:
    """Raises DataChanged if a split has other rows than it had; entries that only one side has are not compared."""
    rows, now = kept.get("rows"), found["rows"]
    if rows is not None and rows != now:
        raise DataChanged(
            f"'{split}' had {rows} rows when {owner} was trained, and has {now} now: "
            "give it the data that it was trained on, or train a new run"
        )
    for key in [key for key in found if key in kept and key != "rows"]:  # labels first
        if not _same(kept[key], found[key]):
            raise DataChanged(
                f"'{split}' has other {KINDS.get(key, key)} than when {owner} was trained, in {now} rows as before: "
                "give it the data that it was trained on, or train a new run"
            )


def _same(kept: Any, found: Any) -> bool:
    """Whether values are equal, floats within 1e-4 of the largest; of mappings only common keys count."""
    if isinstance(kept, Mapping) and isinstance(found, Mapping):
        return all(_same(kept[key], found[key]) for key in kept.keys() & found.keys())
    if not (isinstance(kept, list) and isinstance(found, list)):
        return bool(kept == found)
    if len(kept) != len(found) or not all(isinstance(value, int | float) for value in [*kept, *found]):
        return len(kept) == len(found) and all(map(_same, kept, found))
    size = max((abs(value) for value in kept), default=0)
    return all(
        math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4 * size) for one, other in zip(kept, found, strict=True)
    )


def listed(names: Sequence[str], n: int = 6) -> str:
    """The first names, and the number of further ones."""
    shown = ", ".join(str(name)[:40] for name in names[:n])
    return shown + (f" and {len(names) - n} more" if len(names) > n else "") if names else "none"
