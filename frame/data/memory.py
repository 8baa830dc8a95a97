"""Splits in memory, and data sets with official training and test files."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from frame.common.errors import UserError, choices
from frame.data.base import Batch, DataSet, Source, check_mask, check_tokens
from frame.data.labels import class_numbers
from frame.data.tensors import as_tensor, seen, stored_rows

BINARIZE = ("none", "dynamic", "static")


def check_binarize(binarize: str) -> None:
    """Raises UserError for a word that is not in BINARIZE."""
    if binarize not in BINARIZE:
        raise UserError(choices(str(binarize), BINARIZE, kind="binarize"))


def bernoulli(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draws booleans from uint8 pictures of any shape: true with probability exactly x / 255."""
    # x of the 255 equally likely values 0..254 are below x
    return torch.empty_like(x).random_(0, 255, generator=generator) < x


def drawn(x: Tensor, dynamic: bool, generator: torch.Generator) -> Tensor:
    """Stored rows [B, *shape] as a model sees them; pictures are drawn anew with dynamic binarization."""
    return bernoulli(x, generator).float() if dynamic else seen(x)


def beside(x: Any, y: Any, columns: Mapping[str, Any]) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Classes and the other entries of rows [N, *shape], as tensors.

    Raises:
        UserError: y are not classes, a mask does not belong to x, or lengths differ.
    """
    labels = None if y is None else class_numbers(as_tensor(y, "y"), "y")
    if labels is not None and len(labels) != len(x):
        raise UserError(f"there are {len(x)} rows and {len(labels)} labels: give one label to each row")
    found = {name: as_tensor(value, name) for name, value in columns.items()}
    for name, column in found.items():
        if column.dim() == 0 or len(column) != len(x):
            raise UserError(f"'{name}' has the shape {list(column.shape)} and x {len(x)} rows: give one for each row")
    if "mask" in found:
        check_mask(found["mask"], x, "InMemory")
    return labels, found


class InMemory:
    """A split in memory.

    Args:
        x: [N, *shape], a tensor or an array: uint8 pictures [N, C, H, W] or [N, H, W], with any number of channels
            (a model sees x / 255); floats of any shape, in float32; whole numbers, such as tokens [N, T].
        y: [N] classes, whole numbers of any type from 0, or None.
        binarize: 'none'; 'dynamic': pixels are drawn anew at each use with probability x / 255 (Salakhutdinov and
            Murray 2008); 'static': they are drawn once, by the constructor, so that the pictures never change.
        seed: seed of the static binarization.
        vocabulary: the number of tokens, if x holds token ids: all must be in 0 .. vocabulary - 1.
        columns: other entries of a batch by name, [N, ...] each, such as mask=..., [N, T], bool.

    Raises:
        UserError: `binarize` is unknown, x is none of these or not finite, y are not classes, a mask does not belong to
            x, or entries have different lengths.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        binarize: str = "none",
        seed: int = 0,
        vocabulary: int | None = None,
        **columns: Any,
    ) -> None:
        check_binarize(binarize)
        x = stored_rows(x, "x")
        if binarize != "none" and (x.dtype != torch.uint8 or x.dim() < 3):
            raise UserError(
                f"binarize={binarize} needs pictures as uint8 [N, C, H, W], not {x.dtype} {list(x.shape)}: "
                "use binarize=none"
            )
        labels, self.columns = beside(x, y, columns)
        if vocabulary is not None:
            check_tokens(x, vocabulary, "InMemory")
        self.vocabulary = vocabulary
        if binarize == "static":
            x = bernoulli(x, torch.Generator().manual_seed(seed)).to(torch.uint8).mul_(255)
        self.x: Tensor = x
        self.y: Tensor | None = labels
        self.dynamic = binarize == "dynamic"
        self.levels = None if self.x.dtype != torch.uint8 else 256 if binarize == "none" else 2

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor) -> Batch:
        here = indices.to(self.x.device)
        rows: Batch = {"x": self.x.index_select(0, here), "index": here}
        if self.y is not None:
            rows["y"] = self.y.index_select(0, here)
        return rows | {name: column.index_select(0, here) for name, column in self.columns.items()}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": drawn(batch["x"], self.dynamic, generator)}

    def to(self, device: torch.device) -> "InMemory":
        """The same split with its tensors on `device`."""
        there = copy.copy(self)
        there.x, there.y = self.x.to(device), None if self.y is None else self.y.to(device)
        there.columns = {name: column.to(device) for name, column in self.columns.items()}
        return there


class OfficialSplits(DataSet):
    """Pictures with an official training and an official test set; 'valid' is the last `n_valid` rows of training.

    A subclass reads the two, and names the number of training rows, so that n_valid is checked before reading.
    """

    n_train: int
    keys: tuple[str, ...] = ("x", "y")

    def __init__(self, binarize: str, n_valid: int) -> None:
        super().__init__()
        check_binarize(binarize)
        name = type(self).__name__
        if isinstance(n_valid, bool) or not isinstance(n_valid, int) or not 0 <= n_valid < self.n_train:
            raise UserError(f"{name}: n_valid={n_valid} must be a whole number from 0 to {self.n_train - 1}")
        self.binarize, self.n_valid = binarize, n_valid
        self._official: dict[bool, InMemory] = {}
        if n_valid == 0:
            self.splits = ("train", "test")
            self.absent = {"valid": f"{name} has no split 'valid' with n_valid=0: set data.n_valid, or use 'test'"}

    def read(self, train: bool) -> tuple[Tensor, Tensor]:
        """The official training or test set: x [N, C, H, W] uint8 and y [N] int64.

        Raises:
            UserError: its files are missing or broken.
        """
        raise NotImplementedError

    def load(self, split: str) -> Source:
        official = self._whole(train=split != "test")
        if split == "test":
            return official
        n_kept = self.n_train - self.n_valid
        rows = slice(0, n_kept) if split == "train" else slice(n_kept, self.n_train)
        part = copy.copy(official)
        part.x, part.y = official.x[rows], None if official.y is None else official.y[rows]  # views, no copies
        return part

    def _whole(self, train: bool) -> InMemory:
        # read once for both parts, and binarized as a whole, so that n_valid does not change static pictures
        if train not in self._official:
            self._official[train] = InMemory(*self.read(train), binarize=self.binarize, seed=int(train))
        return self._official[train]
