"""What a data set is: named splits, each a `Source` of whole batches."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from frame.common.errors import UserError, choices
from frame.data.identity import compare_classes, compare_split, identity_of
from frame.data.labels import check_range, class_numbers

# 'x': [B, *shape] · 'y': [B] · 'factors': [B, K] · 'views': V x [B, *shape] · 'env': [B] · 'index': [B]
Batch = dict[str, Any]  # a Tensor each, and 'views' a list of them; Any spares every method a cast


class Source(Protocol):
    """One split. `batch` fetches rows as they are stored; `transform` makes of them what a model sees."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """Rows `indices` [B] (int64, on the CPU or where the rows lie), as stored (pictures are uint8), and 'index'.

        Noise belongs to `transform`; where it cannot be separated from the rows, see `Seeded`.
        """
        ...

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The whole batch on the device it lies on: to float, binarized, augmented; all noise is `generator`'s."""
        ...


@runtime_checkable
class Resident(Protocol):
    """A source whose rows lie in memory, and can lie in an accelerator's memory instead."""

    def to(self, device: torch.device) -> Source: ...


@runtime_checkable
class Seeded(Protocol):
    """A source that draws noise while it fetches rows, such as somebody's per-sample augmentation."""

    def at(self, seed: int, epoch: int) -> Source:
        """The same rows, with the noise of that epoch."""
        ...


class DataSet:
    """Named splits, loaded when first asked for. A subclass fills `splits` and `load`; constructors read nothing."""

    splits: tuple[str, ...] = ("train", "valid", "test")
    _expected: tuple[Mapping[str, Any], str] | None = None
    _n_labels: int | None = None

    def __init__(self) -> None:
        self._loaded: dict[str, Source] = {}
        self.absent: dict[str, str] = {}  # why a usual split is not in `splits`

    @property
    def shape(self) -> tuple[int, ...]:
        """One row's shape, (C, H, W) for pictures. Data sets that know it without reading override this."""
        return tuple(self.split(self.splits[0]).batch(torch.arange(1))["x"].shape[1:])

    @property
    def row(self) -> str:
        """What one row is called where a unit names it: 'picture', 'series', 'sequence' or 'row', by its shape.

        [C, H, W] is a picture, and so is [H, W] as uint8; other [C, T] are a series, whole numbers [T] a sequence.
        Data sets whose rows are something else override this.
        """
        if len(self.shape) in (1, 2):
            source = self.split(self.splits[0])
            x = getattr(source, "x", None)
            x = x if isinstance(x, Tensor) else whole_batch(source, torch.arange(1))["x"]
            if len(self.shape) == 2:
                return "picture" if x.dtype == torch.uint8 else "series"
            return "row" if x.is_floating_point() else "sequence"
        return "picture" if len(self.shape) == 3 else "row"

    @property
    def n_classes(self) -> int | None:
        """How many values 'y' has; None where there is no 'y' or nobody knows."""
        names = class_names(self)
        return None if names is None else len(names)

    @property
    def classes(self) -> Sequence[str] | None:
        """The classes' names, in the order of 'y'; None where they have none."""
        return None

    @property
    def keys(self) -> tuple[str, ...]:
        """What a batch has beside 'index'. Data sets that know it without reading override this."""
        row = whole_batch(self.split(self.splits[0]), torch.arange(1))
        return tuple(key for key in row if key != "index")

    def load(self, split: str) -> Source:
        """Reads one split.

        Raises:
            UserError: its files are missing or broken.
        """
        raise NotImplementedError

    def split(self, name: str) -> Source:
        """The split called `name`, read once.

        Raises:
            UserError: there is no such split, a label is out of range, or its rows are others than `expect` was told.
        """
        if name not in self.splits:
            raise UserError(self.absent.get(name) or choices(name, self.splits, kind="split"))
        if name not in self._loaded:
            self._loaded[name] = self.load(name)
            try:
                self._check_labels(name)
                self._compare(name)
            except UserError:
                del self._loaded[name]
                raise
        return self._loaded[name]

    def identity(self, split: str) -> dict[str, Any]:
        """By which a split is known again: 'rows', and hashes of what is cheap to look at.

        Data sets that know it without reading override this.
        """
        return identity_of(self.split(split))

    def expect(self, kept: Mapping[str, Any], owner: str) -> None:
        """From now on the data have to be those that `owner`, a run, was trained on; splits are compared when read.

        Args:
            kept: 'classes', 'n_classes' and 'splits', as `described` says them; what is not in it is not compared.
            owner: named in the message.

        Raises:
            DataChanged: the classes or a split that is read already are others; later from `split`.
        """
        compare_classes(kept, class_names(self), self.n_classes, owner)
        self._expected = (kept.get("splits") or {}, owner)
        for name in self._loaded:
            self._compare(name)

    def limit_labels(self, n_classes: int) -> None:
        """From now on labels are 0 .. n_classes - 1, as a model takes them.

        Raises:
            UserError: one of a split that is read already is not; later from `split`, or where a row is read.
        """
        self._n_labels = n_classes
        for name in self._loaded:
            self._check_labels(name)

    def _compare(self, name: str) -> None:
        kept, owner = self._expected or ({}, "")
        if name in kept:
            compare_split(kept[name], name, self.identity(name), owner)

    def _check_labels(self, name: str) -> None:
        source = self._loaded[name]
        n_classes = self.n_classes if self._n_labels is None else self._n_labels
        if n_classes is None:
            return
        y = getattr(source, "y", None)
        if isinstance(y, Tensor) and y.dim() == 1:  # other shapes are a model's of the user's own
            where = f"{type(self).__name__}, '{name}'"
            check_range(class_numbers(y, where), n_classes, where)
        elif hasattr(source, "n_classes"):  # it looks at each row that it reads
            source.n_classes = n_classes

    def training(self) -> Source:
        """What a model trains on: the split 'train', as evaluations see it unless a subclass augments it."""
        return self.split("train")


class Wrapped(DataSet):
    """Another data set, of which a subclass changes the rows: what is known of it is asked there."""

    def __init__(self, data: DataSet) -> None:
        super().__init__()
        self.data, self.splits, self.absent = data, data.splits, data.absent

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def row(self) -> str:
        return self.data.row

    @property
    def n_classes(self) -> int | None:
        return self.data.n_classes

    @property
    def classes(self) -> Sequence[str] | None:
        return self.data.classes

    @property
    def keys(self) -> tuple[str, ...]:
        return self.data.keys

    def identity(self, split: str) -> dict[str, Any]:
        return self.data.identity(split)

    def limit_labels(self, n_classes: int) -> None:
        self.data.limit_labels(n_classes)


def class_names(data: DataSet) -> list[str] | None:
    """A data set's `classes` where they are a list of names, and not another thing that somebody calls so."""
    names: Any = data.classes
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def described(data: DataSet) -> dict[str, Any]:
    """Class names and each split's identity, as a run keeps them; splits that cannot be read are left out."""
    splits = {}
    for name in data.splits:
        read_before = name in data._loaded
        try:
            splits[name] = data.identity(name)
        except Exception:  # training has read what it needs; whoever asks for this split is told what is wrong with it
            if read_before:
                raise
        if not read_before:
            data._loaded.pop(name, None)
    return {"classes": class_names(data), "n_classes": data.n_classes, "splits": splits}


def moved(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on `device`; without waiting for the copy where the rows lie in pinned memory."""
    return {
        key: [view.to(device, non_blocking=True) for view in value]
        if isinstance(value, list)
        else value.to(device, non_blocking=True)
        for key, value in batch.items()
    }


def whole_batch(source: Source, indices: Tensor, *, seed: int = 0, device: torch.device | str = "cpu") -> Batch:
    """Rows `indices` as a model sees them, with noise (binarization, augmentation) that only `seed` determines."""
    generator = torch.Generator(device).manual_seed(seed)
    return source.transform(moved(source.batch(indices), device), generator)
