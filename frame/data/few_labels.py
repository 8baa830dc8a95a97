"""A few labelled rows of another data set, with the rest of it, or other rows, as 'unlabelled'."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.data.base import Batch, Source, class_names, labels_in, whole_batch
from frame.data.composed import Wrapped
from frame.data.map import Keep, MappedRows
from frame.data.per_sample import as_data_set
from frame.data.take import TakenRows
from frame.data.views import in_order
from frame.data.zip import ZippedRows, difference


class FewLabels(Wrapped):
    """Models train on batches of labelled rows that hold a batch of the other rows, without 'y', as 'unlabelled'.

    The labelled rows are `labels_per_class` rows of each class, drawn by `seed`. With more labels a class, the same
    seed keeps the rows that it drew. With `unlabelled`, the rows of that data set stand in the place of the rows that
    were not drawn. An epoch is one pass over the rows without labels. The labelled rows start again as often as needed,
    each time in a new order. For evaluations, 'train' is the labelled rows, and the other splits are whole.

    With `weak` and `strong`, all batches also have 'views': a weakly and a strongly augmented version of 'x', in this
    order. They are drawn anew at each use, on the whole batch and its device.

    Args:
        data: a data set, or a value that `as_data_set` takes, whose labels are known without reading its rows.
        labels_per_class: labelled rows of each class; None takes all rows, and needs `unlabelled`.
        seed: of the draw, from 0.
        batch_size: rows of 'unlabelled' in a batch of each process. By default as many as labelled ones, which is
            `params.batch_size`.
        weak, strong: by any name, modules that take (x, generator), applied to 'x' in their order; null leaves one out,
            and null for both leaves out the views.
        train_on_view: whether 'x' is the weak view in training, labelled or not; evaluations see the original 'x'.
        unlabelled: a data set, or a value that `as_data_set` takes, whose 'train' has rows without labels. Labels that
            it has are not read.

    Raises:
        UserError: a number is out of range, or only one of `weak` and `strong` is given. From `training` and `split`:
            labels are not known, a class has too few rows, no row is left without a label, or those of `unlabelled`
            have another shape or type.
    """

    def __init__(
        self,
        data: Any,
        labels_per_class: int | None,
        seed: int = 0,
        batch_size: int | None = None,
        weak: Mapping[str, nn.Module | None] | None = None,
        strong: Mapping[str, nn.Module | None] | None = None,
        train_on_view: bool = False,
        unlabelled: Any = None,
    ) -> None:
        super().__init__(as_data_set(data), *([] if unlabelled is None else [as_data_set(unlabelled)]))
        at_least(1, labels_per_class=labels_per_class, batch_size=batch_size)
        if labels_per_class is None and unlabelled is None:
            raise UserError("labels_per_class=null labels all rows: give the rows without labels as data.unlabelled")
        if not 0 <= seed < 2**32:
            raise UserError(f"seed={seed}: it must be a whole number from 0 to 2^32 - 1")
        if (weak is None) != (strong is None):
            raise UserError("weak and strong: give augmentations for both views, or null for both")
        if train_on_view and weak is None:
            raise UserError("train_on_view=true needs views: give augmentations as weak and strong")
        self.labels_per_class, self.seed, self.batch_size = labels_per_class, seed, batch_size
        self.views = None if weak is None or strong is None else (in_order(weak), in_order(strong))
        self.train_on_view = train_on_view
        self._drawn: tuple[list[int], list[int]] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        views = () if self.views is None else ("views",)
        nested = [f"unlabelled.{key}" for key in (*self._unlabelled, *views)]
        return (*self.data.keys, *views, "unlabelled", *nested)

    @property
    def _unlabelled(self) -> list[str]:
        """What models read of rows without labels."""
        return [key for key in ("x", "mask") if all(key in part.keys for part in self.parts)]

    def identity(self, split: str) -> dict[str, Any]:
        found = self.data.identity(split)
        return {**found, "beside": [one.identity(split) for one in self.parts[1:]]} if split == "train" else found

    def load(self, split: str) -> Source:
        return self.made(split, self.data.split(split))

    def limit_labels(self, n_classes: int) -> None:
        self.data.limit_labels(n_classes)  # also of the rows that are not drawn, by their own numbers
        super().limit_labels(n_classes)

    def made(self, split: str, *sources: Source) -> Source:
        return self._seen(TakenRows(sources[0], self.rows[0]) if split == "train" else sources[0])

    def training(self) -> Source:
        self.split("train")  # compares labels, and the rows
        labelled = TakenRows(self.data.training(), self.rows[0])
        if len(self.parts) > 1:
            unlabelled = self._beside(labelled)
        else:
            unlabelled = self._kept(TakenRows(self.data.training(), self.rows[1]))
        return ZippedRows(
            self._seen(labelled, self.train_on_view),
            {"unlabelled": self._seen(unlabelled, self.train_on_view)},
            {"unlabelled": self.batch_size},
            epoch="unlabelled",
        )

    def _beside(self, labelled: Source) -> Source:
        """The rows of `unlabelled`, if they are like the labelled ones."""
        unlabelled = self._kept(self.parts[1].training())
        if len(unlabelled) == 0:
            raise UserError("FewLabels: 'unlabelled' has no rows to train on")
        one, other = (whole_batch(source, torch.arange(1)) for source in (labelled, unlabelled))
        if differs := difference(one, other, "unlabelled"):
            raise UserError(f"FewLabels: {differs}: give it the same shape and type")
        return unlabelled

    def _kept(self, source: Source) -> Source:
        return MappedRows(source, Keep(self._unlabelled))

    def _seen(self, source: Source, x_is_view: bool = False) -> Source:
        return source if self.views is None else MappedRows(source, WeakAndStrong(*self.views, x_is_view=x_is_view))

    @property
    def rows(self) -> tuple[list[int], list[int]]:
        """The labelled rows of 'train', and the others, both in order."""
        if self._drawn is None:
            y = self._classes()
            labelled = self._draw(y)
            others = np.setdiff1d(np.arange(len(y)), labelled)
            if len(others) == 0 and len(self.parts) == 1:
                raise UserError(
                    f"FewLabels: labels_per_class={self.labels_per_class} leaves no row of {len(y)} without a label: "
                    "lower it"
                )
            self._drawn = labelled.tolist(), others.tolist()
        return self._drawn

    def _classes(self) -> np.ndarray:
        """The class of each row of 'train', [N]."""
        train, name = self.data.split("train"), type(self.data).__name__
        if "y" not in self.data.keys:
            raise UserError(f"FewLabels: {name} has no labels, 'y': give data that have classes")
        labels = labels_in(train)
        one = train.batch(torch.arange(1))["y"] if labels is None else labels
        if isinstance(one, Tensor) and (one.is_floating_point() or one.ndim > 1):
            raise UserError(f"FewLabels: 'y' of {name} holds numbers, not one class a row: give data that have classes")
        if labels is None:
            raise UserError(
                f"FewLabels: the labels of {name} are not known without reading its rows: use data in memory, or with "
                "`targets`"
            )
        return np.asarray(labels)

    def _draw(self, y: np.ndarray) -> np.ndarray:
        """`labels_per_class` rows of each class, or all of them, in order."""
        order = np.random.RandomState(self.seed).permutation(len(y))  # its stream does not change between versions
        known = self.data.n_classes if y.dtype.kind in "iu" else None  # else they are names
        classes = np.unique(y) if known is None else np.arange(known)
        names = class_names(self.data)
        drawn = []
        for k in classes:
            rows = order[y[order] == k]
            if len(rows) < (self.labels_per_class or 1):
                name = f"{k} ('{names[k]}')" if names is not None and known is not None else str(k)
                wanted = f", and labels_per_class={self.labels_per_class}: lower it"
                remedy = wanted if len(rows) else ": give data with a labelled row of each class"
                raise UserError(f"FewLabels: class {name} has {len(rows)} rows in 'train'{remedy}")
            drawn.append(rows[: self.labels_per_class])
        return np.sort(np.concatenate(drawn))


class WeakAndStrong:
    """Adds 'views', a weak and a strong one, to a batch; see `FewLabels`. `x_is_view` replaces 'x' by the weak one."""

    keeps_labels = True

    def __init__(self, weak: tuple[nn.Module, ...], strong: tuple[nn.Module, ...], x_is_view: bool = False) -> None:
        self.pipelines, self.x_is_view = (weak, strong), x_is_view
        self.keeps_x = not x_is_view

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        views = []
        for pipeline in self.pipelines:
            view = batch["x"]
            for augment in pipeline:
                view = augment(view, generator)
            views.append(view)
        return {**batch, "x": views[0] if self.x_is_view else batch["x"], "views": views}
