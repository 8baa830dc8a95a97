"""Concatenates the rows of several data sets."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.data.base import Batch, Epoch, Source, Stream, announce, at_epoch, labels_in, levels_of, streams, whole_batch
from frame.data.composed import Composed, Wrapped
from frame.data.loader import mix
from frame.data.per_sample import as_data_set
from frame.data.splits import SPLITS


class Concat(Wrapped):
    """The concatenated rows of several data sets, each with its own transformation and noise.

    A split has the rows of those data sets that have the split. Their rows must be alike: the same entries of the same
    shapes and types.

    Args:
        data: data sets, or values that `as_data_set` takes: a list, or a mapping by any names.

    Raises:
        UserError: there is no data set, or their classes differ; from `split`, their rows are not alike.
    """

    def __init__(self, data: Any) -> None:
        given = list(data.values()) if hasattr(data, "values") else list(data)
        if not given:
            raise UserError("Concat: give at least one data set")
        super().__init__(*(as_data_set(one) for one in given))
        named = {name for part in self.parts for name in part.splits}
        self.splits = tuple(name for name in SPLITS if name in named) + tuple(sorted(named - {*SPLITS}))
        self.absent = {name: why for part in self.parts for name, why in part.absent.items() if name not in named}

    @property
    def n_classes(self) -> int | None:
        known = [part.n_classes for part in self.parts]
        return max((n for n in known if n is not None), default=None)

    @property
    def n_envs(self) -> int | None:
        known = [part.n_envs for part in self.parts]
        return max((n for n in known if n is not None), default=None)

    @property
    def classes(self) -> Sequence[str] | None:
        named = [part.classes for part in self.parts]
        if all(isinstance(names, list | tuple) for names in named):
            for names in named[1:]:
                if list(names or ()) != list(named[0] or ()):
                    raise UserError(
                        f"Concat: labels mean different classes: {', '.join(named[0] or ())[:80]}; "
                        f"{', '.join(names or ())[:80]}"
                    )
            return named[0]
        return None

    def identity(self, split: str) -> dict[str, Any]:
        found = [part.identity(split) for part in self.parts if split in part.splits]
        return {"rows": sum(one["rows"] for one in found), "parts": found}

    def made(self, split: str, *sources: Source) -> Source:
        self.classes  # noqa: B018  # they must agree
        check_alike(sources, f"Concat, '{split}'")
        return ConcatRows(*sources)


class ConcatRows(Composed):
    """Concatenated sources. A stored batch keeps their parts separate, because each has its own `transform`."""

    def __init__(self, *sources: Source) -> None:
        if any(len(streams(source)) > 1 for source in sources):
            raise UserError("zipped data sets cannot be concatenated: concatenate their parts, and zip those")
        super().__init__(*sources)
        self.ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def streams(self) -> dict[str, Stream]:
        return {"": Stream(len(self))}

    def batch(self, indices: Tensor) -> Batch:
        parts, places = {}, []
        for i, mine, rows in self._shared(indices):
            parts[str(i)] = self.sources[i].batch(rows)
            places.append(mine)
        order = torch.from_numpy(np.argsort(np.concatenate(places)))
        return {"index": indices, "parts": parts, "order": order.to(indices.device)}

    def ahead(self, indices: Tensor) -> None:
        for i, _, rows in self._shared(indices):
            announce(self.sources[i], rows)

    def _shared(self, indices: Tensor) -> Iterator[tuple[int, np.ndarray, Tensor]]:
        """The number of each source that has some of the rows, their places, and its own indices of them."""
        here = indices.cpu().numpy()
        owner = np.searchsorted(self.ends, here, side="right")
        for i, source in enumerate(self.sources):
            mine = np.flatnonzero(owner == i)
            if len(mine):
                yield i, mine, torch.from_numpy(here[mine] - (int(self.ends[i]) - len(source)))

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        seen = [self.sources[int(i)].transform(part, generator) for i, part in batch["parts"].items()]
        joined = seen[0] if len(seen) == 1 else {key: _joined([part[key] for part in seen], batch) for key in seen[0]}
        return {**joined, "index": batch["index"]}

    def at(self, seed: int, epoch: Epoch) -> "ConcatRows":
        # rows with the same index in two sources must not draw the same noise
        return self.over(at_epoch(s, seed if i == 0 else mix(seed, i), epoch) for i, s in enumerate(self.sources))

    @property
    def levels(self) -> int | None:
        found = {levels_of(source) for source in self.sources}
        return found.pop() if len(found) == 1 else None

    def labels(self) -> Tensor | np.ndarray | None:
        found = [labels_in(source) for source in self.sources]
        if any(y is None for y in found):
            return None
        if all(isinstance(y, Tensor) for y in found):
            return torch.cat(found)  # type: ignore[arg-type]
        return np.concatenate([y.cpu().numpy() if isinstance(y, Tensor) else y for y in found])


def _joined(parts: list[Any], batch: Batch) -> Any:
    """Joins tensors, or lists of them, of the parts' rows, in the batch's order."""
    if isinstance(parts[0], list):
        return [_joined(list(views), batch) for views in zip(*parts, strict=True)]
    return torch.cat(parts).index_select(0, batch["order"])


def check_alike(sources: Iterable[Source], where: str) -> None:
    """Raises UserError if a row of one source has other entries, shapes or types than one of the first; names them."""
    forms = [form(whole_batch(source, torch.arange(1))) for source in sources if len(source)]
    for i, other in enumerate(forms[1:], 1):
        first = forms[0]
        if lacking := [key for key in first if key not in other] + [key for key in other if key not in first]:
            raise UserError(
                f"{where}: batches of data set 1 have {', '.join(first)}, of data set {i + 1} {', '.join(other)}: "
                f"Map both to the same entries ({', '.join(lacking)})"
            )
        for key in first:
            if first[key] != other[key]:
                raise UserError(f"{where}: '{key}' is {first[key]} in data set 1 and {other[key]} in data set {i + 1}")


def form(batch: Batch) -> dict[str, str]:
    """Each entry's type and the shape of a row, 'index' left out."""
    found = {}
    for key, value in batch.items():
        views = value if isinstance(value, list) else [value]
        if key != "index" and not isinstance(value, dict):
            shown = f"{str(views[0].dtype).removeprefix('torch.')} {list(views[0].shape[1:])}"
            found[key] = f"{len(views)} x {shown}" if isinstance(value, list) else shown
    return found
