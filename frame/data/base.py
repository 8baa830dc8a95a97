"""The interface of data sets: named splits, each a `Source` of whole batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError, choices
from frame.data.identity import compare_classes, compare_split, identity_of
from frame.data.labels import check_range, class_numbers

# 'x': [B, *shape] · 'y': [B], classes, or numbers as floats · 'factors': [B, K] · 'views': V x [B, *shape] ·
# 'env': [B] · 'mask': [B, T], bool · 'index': [B], the rows' positions in their split · any other name: a Batch of
# another source, with rows of its own
Batch = dict[str, Any]  # Tensor | list[Tensor] | Batch; Any spares every method a cast
Indices = Tensor | dict[str, Tensor]  # rows of the only stream, or of each stream by its path; see `Stream`
Epoch = int | dict[str, int]


class Source(Protocol):
    """One split. `batch` fetches rows as they are stored, and `transform` converts them to what a model sees."""

    def __len__(self) -> int: ...

    def batch(self, indices: Any) -> Batch:
        """The stored rows `indices` [B] (int64, on the CPU or the rows' device) and 'index'; pictures are uint8.

        Noise belongs to `transform`. If it cannot be separated from the rows, see `Seeded`.
        """
        ...

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Converts the whole batch to floats, binarizes and augments it, on its device, with noise from `generator`."""
        ...


# Optional abilities of a source. A source made of others keeps them, see frame/data/composed.py.


@runtime_checkable
class Resident(Protocol):
    """A source whose rows are in memory and can move to an accelerator; see `is_resident`."""

    def to(self, device: torch.device) -> Source: ...


@runtime_checkable
class Seeded(Protocol):
    """A source that draws noise while it fetches rows, such as a per-sample augmentation."""

    def at(self, seed: int, epoch: Any) -> Source:
        """The same rows with the noise of an epoch: an int, or one for each stream."""
        ...


@dataclass(frozen=True)
class Stream:
    """Rows that a loader reads in their own order; a source has one stream unless it zips others.

    Streams are named by the path of their rows in a batch: '' for the batch's own, 'unlabelled', 'unlabelled.other'.
    """

    rows: int
    batch_size: int | None = None  # None: the loader's
    leads: bool = False  # an epoch is one pass over this stream; if none leads, over the longest


def streams(source: Source) -> dict[str, Stream]:
    """The streams that a loader orders; {'': ...} for most sources."""
    own: Callable[[], dict[str, Stream]] | None = getattr(source, "streams", None)
    return {"": Stream(len(source))} if own is None else own()


def is_resident(source: Source) -> bool:
    """Whether the rows are in memory and `to(device)` moves them as a whole."""
    return bool(getattr(source, "resident", isinstance(source, Resident)))


def is_seeded(source: Source) -> bool:
    """Whether the source draws noise while it fetches rows."""
    return bool(getattr(source, "seeded", isinstance(source, Seeded)))


def announce(source: Source, indices: Any) -> None:
    """Tells a source on a disk which rows will be asked for soon, so that the system reads them in the meantime."""
    tell = getattr(source, "ahead", None)
    if callable(tell):
        tell(indices)


def at_epoch(source: Source, seed: int, epoch: Epoch) -> Source:
    """The source with the noise of (seed, epoch), if it draws noise while it fetches rows."""
    return source.at(seed, epoch) if isinstance(source, Seeded) else source


def levels_of(source: Source) -> int | None:
    """How many values each number of 'x' can have, equally spaced from 0 to 1; None if they are continuous."""
    levels: int | None = getattr(source, "levels", None)
    return levels


def labels_in(source: Source) -> Tensor | np.ndarray | None:
    """'y' of all rows [N], if it is known without reading them; else None.

    An array instead of a tensor is stored beside the rows (`targets`); the labels of the rows may differ from it.
    """
    known = getattr(source, "labels", None)
    y = known() if callable(known) else getattr(source, "y", None)
    return y if isinstance(y, Tensor | np.ndarray) and y.ndim == 1 else None


def limit_labels(source: Source, n_classes: int) -> None:
    """From now on, rows that are read one by one are refused if their label is not in 0 .. n_classes - 1."""
    limit = getattr(source, "limit_labels", None)
    if callable(limit):
        limit(n_classes)


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
        """The name of one row in units: 'picture', 'series', 'sequence' or 'row', by its shape.

        [C, H, W] is a picture, and so is [H, W] as uint8; other [C, T] are a series, whole numbers [T] a sequence.
        Data sets whose rows are something else override this.
        """
        if len(self.shape) in (1, 2):
            source = self.split(self.splits[0])
            x = getattr(source, "x", None)
            x = x if isinstance(x, Tensor) else whole_batch(source, torch.arange(1))["x"]
            if len(self.shape) == 2:
                return "picture" if x.dtype == torch.uint8 or levels_of(source) is not None else "series"
            return "row" if x.is_floating_point() else "sequence"
        return "picture" if len(self.shape) == 3 else "row"

    @property
    def vocabulary(self) -> int | None:
        """The number of tokens, if 'x' holds token ids (from 0); else None."""
        return None

    @property
    def n_classes(self) -> int | None:
        """The number of values of 'y'; None if there is no 'y' or the number is unknown."""
        names = class_names(self)
        return None if names is None else len(names)

    @property
    def n_envs(self) -> int | None:
        """Environments that are trained on, if they are known: 'env' is 0 .. n_envs - 1 in 'train'.

        By default those of rows in memory. Data sets that know it without reading override this.
        """
        env = getattr(self.split("train"), "columns", {}).get("env") if "train" in self.splits else None
        if not isinstance(env, Tensor) or env.dim() != 1 or env.is_floating_point() or len(env) == 0:
            return None
        if int(env.min()) < 0:
            raise UserError(f"{type(self).__name__}: 'env' has {int(env.min())}: environments count from 0")
        return int(env.max()) + 1

    @property
    def classes(self) -> Sequence[str] | None:
        """The names of the classes, in the order of 'y'; None if they have none."""
        return None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a batch, but no 'index'; those of a batch in it also as 'unlabelled.x'.

        Data sets that know them without reading override this.
        """
        return keys_in(whole_batch(self.split(self.splits[0]), torch.arange(1)))

    def load(self, split: str) -> Source:
        """Reads one split.

        Raises:
            UserError: its files are missing or broken.
        """
        raise NotImplementedError

    def split(self, name: str) -> Source:
        """The split called `name`, read once.

        Raises:
            UserError: there is no such split, a label is out of range, or its rows differ from those given to `expect`.
        """
        if name not in self.splits:
            raise UserError(self.absent.get(name) or choices(name, self.splits, kind="split"))
        if name not in self._loaded:
            self._loaded[name] = self.load(name)
            try:
                self._check_labels(name)
                self._check_tokens(name)
                self._compare(name)
            except UserError:
                del self._loaded[name]
                raise
        return self._loaded[name]

    def identity(self, split: str) -> dict[str, Any]:
        """The identity of a split: 'rows', and hashes of values that are cheap to read.

        Data sets that know it without reading override this.
        """
        return identity_of(self.split(split))

    def expect(self, kept: Mapping[str, Any], owner: str) -> None:
        """From now on the data must be those that `owner`, a run, was trained on. Splits are compared when read.

        Args:
            kept: 'classes', 'n_classes' and 'splits', as `described` returns them. What it lacks is not compared.
            owner: named in the message.

        Raises:
            DataChanged: the classes or a split that was read already differ; later from `split`.
        """
        compare_classes(kept, class_names(self), self.n_classes, owner)
        self._expected = (kept.get("splits") or {}, owner)
        for name in self._loaded:
            self._compare(name)

    def limit_labels(self, n_classes: int) -> None:
        """From now on labels must be in 0 .. n_classes - 1, as a model takes them.

        Raises:
            UserError: a label of a split that was read already is not; later from `split`, or when a row is read.
        """
        self._n_labels = n_classes
        for name in self._loaded:
            self._check_labels(name)

    def _compare(self, name: str) -> None:
        kept, owner = self._expected or ({}, "")
        if name in kept:
            compare_split(kept[name], name, self.identity(name), owner)

    def _check_labels(self, name: str) -> None:
        n_classes = self.n_classes if self._n_labels is None else self._n_labels
        if n_classes is not None:
            check_labels(self._loaded[name], n_classes, f"{type(self).__name__}, '{name}'")

    def _check_tokens(self, name: str) -> None:
        x = getattr(self._loaded[name], "x", None)
        if self.vocabulary is not None and isinstance(x, Tensor):
            check_tokens(x, self.vocabulary, f"{type(self).__name__}, '{name}'")

    def training(self) -> Source:
        """What a model trains on: the split 'train'. A subclass may augment it; evaluations see the split itself."""
        return self.split("train")


def class_names(data: DataSet) -> list[str] | None:
    """A data set's `classes` if they are a list of names; None if a user's class means something else by it."""
    names: Any = data.classes
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def named_classes(data: DataSet, labels: Tensor) -> list[str]:
    """The name of each label [N] of 'y'; its number where the data set has no names."""
    names = class_names(data) or []
    return [names[label] if 0 <= label < len(names) else str(label) for label in labels.tolist()]


def described(data: DataSet) -> dict[str, Any]:
    """Class names and the identity of each split, as a run keeps them. Splits that cannot be read are left out."""
    splits = {}
    for name in data.splits:
        read_before = name in data._loaded
        try:
            splits[name] = data.identity(name)
        except Exception:  # training does not need this split; reading it later raises the error
            if read_before:
                raise
        if not read_before:
            data._loaded.pop(name, None)
    return {"classes": class_names(data), "n_classes": data.n_classes, "splits": splits}


def mapped(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with `function` applied to every tensor, those of views and of nested batches included."""

    def at(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: at(part) for key, part in value.items()}
        return [at(part) for part in value] if isinstance(value, list) else function(value)

    return {key: at(value) for key, value in batch.items()}


def tensors_in(batch: Batch) -> Iterator[Tensor]:
    """Every tensor of a batch, those of views and of nested batches included, in the order of `mapped`."""
    for value in batch.values():
        if isinstance(value, dict):
            yield from tensors_in(value)
        else:
            yield from value if isinstance(value, list) else [value]


def moved(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on `device`; does not wait for the copy if the rows lie in pinned memory."""
    return mapped(batch, lambda tensor: tensor.to(device, non_blocking=True))


def keys_in(batch: Batch) -> tuple[str, ...]:
    """The keys of a batch, but no 'index'; those of a batch in it also as 'unlabelled.x'."""
    nested = {key: keys_in(value) for key, value in batch.items() if isinstance(value, dict)}
    below = [f"{name}.{key}" for name, keys in nested.items() for key in keys]
    return (*(key for key in batch if key != "index"), *below)


def count_rows(batch: Batch) -> int:
    """Rows of a batch, those of nested batches included."""
    return len(batch["index"]) + sum(count_rows(part) for part in batch.values() if isinstance(part, dict))


def check_batch(batch: Batch, where: str) -> None:
    """Raises UserError if parts of a batch have unlike numbers of rows, or 'mask' does not belong to 'x'."""
    n = len(batch["index"])
    for key, value in batch.items():
        if isinstance(value, dict):
            check_batch(value, f"{where}, '{key}'")
            continue
        for part in value if isinstance(value, list) else [value]:
            if part.dim() == 0 or len(part) != n:
                raise UserError(f"{where}: '{key}' has the shape {list(part.shape)} in a batch of {n} rows")
    if "mask" in batch:
        check_mask(batch["mask"], batch["x"], where)


def check_labels(source: Source, n_classes: int, where: str) -> None:
    """Raises UserError if a label is not in 0 .. n_classes - 1: now if labels are known, else when a row is read."""
    limit_labels(source, n_classes)
    y = labels_in(source)
    if isinstance(y, Tensor):
        check_range(class_numbers(y, where), n_classes, where)
    elif y is not None and y.dtype.kind in "iu":
        wrong = np.flatnonzero((y < 0) | (y >= n_classes))
        if len(wrong):  # a target_transform may correct it: check the row itself
            row = int(wrong[0])
            read = whole_batch(source, torch.tensor([row])).get("y")
            if isinstance(read, Tensor) and read.shape == (1,):
                check_range(class_numbers(read, where), n_classes, f"{where}, row {row}: 'y'")


def check_mask(mask: Tensor, x: Any, where: str) -> None:
    """Raises UserError unless a mask is bool [N, T] and T is the last dimension of x [N, ..., T]."""
    if mask.dtype != torch.bool:
        raise UserError(f"{where}: 'mask' is {str(mask.dtype).removeprefix('torch.')}: give truth values, bool [N, T]")
    if mask.dim() != 2 or len(x.shape) < 2 or mask.shape != (x.shape[0], x.shape[-1]):
        raise UserError(
            f"{where}: 'mask' has the shape {list(mask.shape)} and 'x' {list(x.shape)}: give a mask [N, T] "
            "with the rows and the last dimension of x"
        )


def check_tokens(x: Tensor, vocabulary: int, where: str) -> None:
    """Raises UserError if 'x' holds whole numbers that are not in 0 .. vocabulary - 1."""
    if x.is_floating_point() or x.numel() == 0:
        return
    low, high = int(x.min()), int(x.max())
    if low < 0 or high >= vocabulary:
        raise UserError(
            f"{where}: 'x' has tokens {low} to {high}, and a vocabulary of {vocabulary} has 0 to {vocabulary - 1}"
        )


def whole_batch(source: Source, indices: Indices, *, seed: int = 0, device: torch.device | str = "cpu") -> Batch:
    """Rows `indices` as a model sees them, with noise (binarization, augmentation) that only `seed` determines."""
    generator = torch.Generator(device).manual_seed(seed)
    return source.transform(moved(source.batch(indices), device), generator)
