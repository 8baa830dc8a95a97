"""Nested batches of several data sets, such as labelled and unlabelled rows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

import torch

from frame.common.errors import UserError, choices
from frame.data.base import (
    Batch,
    Epoch,
    Indices,
    Source,
    Stream,
    announce,
    at_epoch,
    limit_labels,
    streams,
    whole_batch,
)
from frame.data.composed import Composed, Wrapped
from frame.data.concat import form
from frame.data.loader import mix
from frame.data.per_sample import as_data_set

RESERVED = ("x", "y", "factors", "views", "env", "mask", "index", "data", "longest")


class Zip(Wrapped):
    """Models train on batches of `data` that hold batches of other data sets by name; evaluations see only `data`.

    Each data set has its own batch size and order. An epoch is one pass over the longest of them (in batches), or over
    the named one. The others start again as often as needed, each time in a new order. The rows of a batch depend only
    on (seed, number of the batch since the start).

    Args:
        data: the data set of the batch itself; its splits, classes and shape are those of the whole.
        beside: the others, by the names of their batches; their split 'train' is used.
        batch_size: rows per batch and process of each of the others, or of each by name. By default that of `data`,
            which is `params.batch_size`.
        epoch: 'longest', 'data' or a name of `beside`.
        alike: entries that `data` and another have both must have the same shape and type; false for other kinds of
            data, such as pictures and their captions.

    Raises:
        UserError: a name is unknown or already in a batch, or a batch size is below 1; from `training`, a data set has
            no 'train', or entries are not alike.
    """

    def __init__(
        self,
        data: Any,
        beside: Mapping[str, Any],
        batch_size: int | Mapping[str, int] | None = None,
        epoch: str = "longest",
        alike: bool = True,
    ) -> None:
        self.names = tuple(map(str, beside))
        if not self.names:
            raise UserError("Zip: beside={}: give at least one other data set, by a name")
        for name in self.names:
            if name in RESERVED or not name.isidentifier():
                raise UserError(f"Zip: beside.{name}: a batch cannot have a batch of that name; call it 'unlabelled'")
        super().__init__(as_data_set(data), *(as_data_set(one) for one in beside.values()))
        sizes = dict(batch_size) if isinstance(batch_size, Mapping) else dict.fromkeys(self.names, batch_size)
        for name, size in sizes.items():
            if name not in self.names:
                raise UserError(f"Zip: batch_size: {choices(str(name), self.names, kind='data set')}")
            if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise UserError(f"Zip: batch_size.{name}={size} must be a whole number of at least 1")
        if epoch not in ("longest", "data", *self.names):
            raise UserError(f"Zip: epoch: {choices(str(epoch), ('longest', 'data', *self.names), kind='data set')}")
        self.sizes, self.epoch, self.alike = sizes, epoch, alike
        self._zipped: ZippedRows | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        nested = [f"{name}.{key}" for name, part in zip(self.names, self.parts[1:], strict=True) for key in part.keys]
        return (*self.data.keys, *self.names, *nested)

    def identity(self, split: str) -> dict[str, Any]:
        found = self.data.identity(split)
        if split == "train":
            found = {**found, "beside": {n: p.identity(split) for n, p in zip(self.names, self.parts[1:], strict=True)}}
        return found

    def load(self, split: str) -> Source:
        return self.data.split(split)

    def training(self) -> Source:
        if self._zipped is None:
            self.split("train")  # compares labels, and the rows of all data sets
            self._zipped = self._zip()
        return self._zipped

    def _zip(self) -> "ZippedRows":
        sources = [part.training() for part in self.parts]
        for name, source in zip(("data", *self.names), sources, strict=True):
            if len(source) == 0:
                raise UserError(f"Zip: '{name}' has no rows to train on")
        rows = [whole_batch(source, torch.arange(1)) for source in sources]
        for name, row in zip(self.names, rows[1:], strict=True):
            if name in rows[0]:
                raise UserError(f"Zip: beside.{name}: batches of {type(self.data).__name__} have '{name}' already")
            if self.alike and (differs := difference(rows[0], row, name)):
                raise UserError(
                    f"Zip: {differs}: give it the same shape and type, or set alike=false if they are other kinds of "
                    "data"
                )
        return ZippedRows(sources[0], dict(zip(self.names, sources[1:], strict=True)), self.sizes, self.epoch)


def difference(batch: Batch, other: Batch, name: str) -> str | None:
    """The first entry that has another shape or type in the batch called `name`, in words; None if there is none."""
    one, two = form(batch), form(other)
    keys = [key for key in one if key in two and one[key] != two[key]]
    return f"'{keys[0]}' is {one[keys[0]]} in the data and {two[keys[0]]} in '{name}'" if keys else None


class ZippedRows(Composed):
    """A source whose batches hold batches of other sources; see `Zip`.

    `batch` takes rows of each stream by its path. Given one tensor, every source gives these rows, and starts again
    after its last one.
    """

    def __init__(
        self,
        source: Source,
        beside: Mapping[str, Source],
        batch_size: Mapping[str, int | None] | None = None,
        epoch: str = "longest",
    ) -> None:
        super().__init__(source, *beside.values())
        for name in beside:
            if any(path.split(".")[0] == name for path in streams(source)):
                raise UserError(f"two batches would be called '{name}': give one of the zipped data sets another name")
        self.names, self.sizes, self.epoch = tuple(beside), dict(batch_size or {}), epoch

    def streams(self) -> dict[str, Stream]:
        found = {
            path: replace(s, leads=self.epoch == "data" and path == "") for path, s in streams(self.sources[0]).items()
        }
        for name, source in zip(self.names, self.sources[1:], strict=True):
            for path, stream in streams(source).items():
                size = self.sizes.get(name) if path == "" else stream.batch_size
                leads = path == "" and self.epoch == name
                found[f"{name}.{path}".strip(".")] = Stream(stream.rows, size, leads)
        return found

    def batch(self, indices: Indices) -> Batch:
        own, *others = self._of_each(indices)
        batch = self.sources[0].batch(own)
        beside = zip(self.names, self.sources[1:], others, strict=True)
        return {**batch, **{name: source.batch(rows) for name, source, rows in beside}}

    def ahead(self, indices: Indices) -> None:
        for source, rows in zip(self.sources, self._of_each(indices), strict=True):
            announce(source, rows)

    def _of_each(self, indices: Indices) -> list[Any]:
        """The rows of each source."""
        return self._parts(indices) if isinstance(indices, dict) else [indices % len(s) for s in self.sources]

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        own = {key: value for key, value in batch.items() if key not in self.names}
        seen = self.sources[0].transform(own, generator)
        beside = zip(self.names, self.sources[1:], strict=True)
        return {**seen, **{name: source.transform(batch[name], generator) for name, source in beside}}

    def at(self, seed: int, epoch: Epoch) -> "ZippedRows":
        epochs = self._parts(epoch) if isinstance(epoch, dict) else [epoch] * len(self.sources)
        # the same rows in two sources must not draw the same noise
        seeds = [seed, *(mix(seed, crc32(name.encode())) for name in self.names)]
        return self.over(map(at_epoch, self.sources, seeds, epochs))

    def limit_labels(self, n_classes: int) -> None:
        limit_labels(self.sources[0], n_classes)  # the other sources may have no labels

    def _parts(self, given: Mapping[str, Any]) -> list[Any]:
        """Splits values by path into those of each source, by its own paths."""
        found: list[dict[str, Any]] = [{} for _ in self.sources]
        for path, value in given.items():
            name, _, rest = path.partition(".")
            i = self.names.index(name) + 1 if name in self.names else 0
            found[i][rest if i else path] = value
        return [part[""] if list(part) == [""] else part for part in found]
