"""Random views of another data set's pictures."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from frame.common.errors import at_least
from frame.data.base import Batch, Source
from frame.data.composed import Wrapped
from frame.data.map import MappedRows
from frame.data.per_sample import as_data_set


class Views(Wrapped):
    """The same rows, and 'views' beside them: `n_views` tensors like 'x', augmented independently of one another.

    'x' does not change, unless `train_on_view`. In every split the views are drawn anew at each use, on the whole
    batch and its device.

    Args:
        data: a data set, or a value that `as_data_set` takes.
        augmentations: by any name, modules that take (x, generator), such as those in `frame.data.augment`. They are
            applied to 'x' in their order; null leaves one out.
        n_views: number of views.
        train_on_view: whether 'x' is the first view in training, so that a method of one picture sees distorted ones;
            evaluations see the original 'x'.

    Raises:
        UserError: n_views < 1, or `data` is not a data set.
    """

    def __init__(
        self, data: Any, augmentations: Mapping[str, nn.Module | None], n_views: int = 2, train_on_view: bool = False
    ) -> None:
        at_least(1, n_views=n_views)
        super().__init__(as_data_set(data))
        self.augmentations, self.n_views = in_order(augmentations), n_views
        self.train_on_view = train_on_view

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.data.keys, "views")

    def made(self, split: str, *sources: Source) -> Source:
        return MappedRows(sources[0], AddViews(self.augmentations, self.n_views))

    def training(self) -> Source:
        if not self.train_on_view:
            return super().training()
        return MappedRows(self.data.training(), AddViews(self.augmentations, self.n_views, x_is_view=True))


def in_order(augmentations: Mapping[str, nn.Module | None]) -> tuple[nn.Module, ...]:
    """The augmentations without those that are null."""
    return tuple(augment for augment in augmentations.values() if augment is not None)


class AddViews:
    """Adds 'views' to a batch; see `Views`. `x_is_view` replaces 'x' by the first view."""

    keeps_labels = True

    def __init__(self, augmentations: tuple[nn.Module, ...], n_views: int, x_is_view: bool = False) -> None:
        self.augmentations, self.n_views, self.x_is_view = augmentations, n_views, x_is_view
        self.keeps_x = not x_is_view

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        views = [batch["x"]] * self.n_views
        for i in range(self.n_views):
            for augment in self.augmentations:
                views[i] = augment(views[i], generator)
        return {**batch, "x": views[0] if self.x_is_view else batch["x"], "views": views}
