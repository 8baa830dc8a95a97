"""Series of the user's own: arrays [N, T, C], and `.ts` files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import UserError, choices
from frame.data.array_files import chosen, read_arrays
from frame.data.arrays import NAMES, Y, squeezed, words
from frame.data.arrays import X as USUAL
from frame.data.from_files import FromFiles, Rows
from frame.data.splits import Splitting
from frame.data.ts_files import read_ts

LAYOUTS = ("NTC", "NCT")
PADS = ("channel", "mask", "zeros", "cut")
X = ("x", "X", "series", *USUAL[2:])


class Series(FromFiles):
    """Series [C, T] in float32, each channel of mean 0 and variance 1 over the steps of 'train'.

    Args:
        train, valid, test: `.ts` files, or npz, npy and safetensors files of arrays [N, T] or [N, T, C]. A name without
            ending stands for NAME_TRAIN.ts and NAME_TEST.ts. None: rows of 'train' are held out.
        x, label, task: as for `Arrays`.
        layout: of arrays with three dimensions, 'NTC' or 'NCT'.
        pad: what is done with series of several lengths: 'channel': zeros behind the shorter ones, and a last channel
            that is 1 at steps with data, so that x is [C + 1, T]; 'mask': `mask` [N, T] in the batch says so; 'zeros':
            nothing does; 'cut': all get the length of the shortest; None: they are refused.
        standardise: whether channels, and numbers to predict, get mean 0 and variance 1 on 'train'.
        n_valid, n_test, seed, group, split_by, time, env: see `Splitting`; `group`, `time` and `env` are arrays [N].
        data_root, big_data_root: folders that are searched for files.

    Raises:
        UserError: see `FromFiles`; series of several lengths, or with missing values.
    """

    kind = "series"
    row = "series"

    def __init__(
        self,
        train: str | Path,
        valid: str | Path | None = None,
        test: str | Path | None = None,
        x: str | None = None,
        label: str | None = None,
        task: str = "auto",
        layout: str = "NTC",
        pad: str | None = None,
        standardise: bool = True,
        n_valid: float = 0.1,
        n_test: float = 0.1,
        seed: int = 0,
        group: str | None = None,
        split_by: str = "random",
        time: str | None = None,
        env: str | None = None,
        data_root: str | Path = ".",
        big_data_root: str | Path | None = None,
    ) -> None:
        splitting = Splitting(n_valid, n_test, seed, group, split_by, time, env)
        files = {"train": train, "valid": valid, "test": test}
        super().__init__(files, task, splitting, standardise, data_root, big_data_root)
        if layout not in LAYOUTS:
            raise UserError(choices(str(layout), LAYOUTS, kind="layout"))
        if pad is not None and pad not in PADS:
            raise UserError(choices(str(pad), PADS, kind="pad"))
        self.x, self.label, self.layout, self.pad, self.standardise = x, label, layout, pad, standardise

    @property
    def name(self) -> str:
        return "series"

    @property
    def label_named(self) -> str:
        return f"label '{self.label or 'y'}'"

    def read(self, split: str, given: Any) -> dict[str, Rows]:
        name = str(given)
        if split == "train" and not Path(name).suffix and not Path(self.folders[0], name).exists():
            rows = {"train": self._ts(f"{name}_TRAIN.ts")}
            return rows if "test" in self.files else {**rows, "test": self._ts(f"{name}_TEST.ts")}
        if name.lower().endswith(".ts"):
            return {split: self._ts(name)}
        return {split: self._arrays(name)}

    def _ts(self, name: str) -> Rows:
        found = read_ts(self.place(name))
        lengths = np.array([series.shape[1] for series in found.series])
        x = np.full((len(lengths), len(found.series[0]), lengths.max()), np.nan, dtype=np.float32)
        for row, series in zip(x, found.series, strict=True):
            row[:, : series.shape[1]] = series
        if self.task == "numbers" and found.y is not None and found.y.dtype == object:
            found.y = np.array([float(value) for value in found.y])
        return self._checked(Rows(x, found.y if self.label != "none" else None, {"length": lengths}), name)

    def _arrays(self, name: str) -> Rows:
        arrays = read_arrays(self.place(name), self.name)
        where = f"{self.name}, {name}"
        x = chosen(arrays, self.x, X, where) if len(arrays) > 1 or self.x else next(iter(arrays))
        if x is None:
            raise UserError(f"{where} has the arrays {', '.join(arrays)}: name the series by data.x=...")
        y = None if self.label == "none" else chosen(arrays, self.label, Y, where)
        names, rows = chosen(arrays, None, NAMES, where), arrays[x]
        if rows.dtype.kind not in "biuf" or rows.ndim not in (2, 3):
            raise UserError(f"{where}: '{x}' is {rows.dtype} {list(rows.shape)}: give numbers [N, T] or [N, T, C]")
        rows = rows[:, None] if rows.ndim == 2 else rows.transpose(0, 2, 1) if self.layout == "NTC" else rows
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        filled = ~np.isnan(rows).all(1)  # series that are padded with NaN behind their last step
        lengths = rows.shape[2] - filled[:, ::-1].argmax(1)
        columns = {key: a for key, a in arrays.items() if key not in (x, y, names) and a.ndim and len(a) == len(rows)}
        found = Rows(rows, None if y is None else squeezed(arrays[y]), {**columns, "length": lengths})
        found.names = words(arrays[names]) if names else None
        return self._checked(found, name)

    def _checked(self, rows: Rows, name: str) -> Rows:
        """Raises UserError if a step with data is missing or infinite."""
        steps = np.arange(rows.x.shape[2]) < rows.columns["length"][:, None]  # [N, T]
        if np.isinf(rows.x).any():
            row = int(np.isinf(rows.x).any((1, 2)).argmax())
            raise UserError(f"{self.name}: {name} has infinite values, first in row {row}: remove these series")
        missing = (np.isnan(rows.x) & steps[:, None]).any((1, 2))
        if missing.any():
            n, row = int(missing.sum()), int(missing.argmax())
            raise UserError(
                f"{self.name}: {n} of {len(missing)} series of {name} have missing values, first in row {row}: fill "
                "them in, for example by interpolation"
            )
        return rows

    def _check_alike(self, read: Any) -> None:
        lengths = np.concatenate([rows.columns["length"] for rows in read.values()])
        shortest, longest = int(lengths.min()), int(lengths.max())
        if shortest < longest and self.pad is None:
            raise UserError(
                f"{self.name}: lengths differ, from {shortest} to {longest} steps: set data.pad=channel (zeros behind "
                "the shorter ones, and a channel that says where), mask, zeros, or cut (all as long as the shortest)"
            )
        size = shortest if self.pad == "cut" else longest
        for rows in read.values():
            more = size - rows.x.shape[2]
            fill = np.full((*rows.x.shape[:2], max(more, 0)), np.nan, dtype=np.float32)
            rows.x = np.concatenate([rows.x[:, :, :size], fill], 2)
            if self.pad == "mask":
                rows.columns["mask"] = np.arange(size) < rows.columns["length"][:, None]
        super()._check_alike(read)

    def prepared(self, rows: dict[str, Rows]) -> dict[str, Rows]:
        if self.standardise:
            train = rows["train"].x
            mean = np.nanmean(train, (0, 2), dtype=np.float64, keepdims=True)
            scale = np.nanstd(train, (0, 2), dtype=np.float64, keepdims=True)
            for part in rows.values():
                part.x = ((part.x - mean) / np.where(scale > 0, scale, 1.0)).astype(np.float32)
        for part in rows.values():
            there = (~np.isnan(part.x[:, :1])).astype(np.float32)  # [N, 1, T]
            part.x = np.nan_to_num(part.x)
            if self.pad == "channel":
                part.x = np.concatenate([part.x, there], 1)
        return rows

    def described(self, rows: dict[str, Rows]) -> str:
        n_channels, n_steps = rows["train"].x.shape[1:]
        n_channels -= self.pad == "channel"
        lengths: Sequence[int] = np.concatenate([part.columns["length"] for part in rows.values()]).tolist()
        padded = {
            "channel": "padded, with a channel",
            "mask": "padded, with a mask",
            "zeros": "padded",
            "cut": "cut",
        }.get(self.pad or "", "")
        told = f", {padded} from {min(lengths)} to {max(lengths)}" if min(lengths) < max(lengths) else ""
        return f"series of {n_channels} channels and {n_steps} steps{told}"
