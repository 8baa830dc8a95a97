"""Environments of the user's own files: a column by name, in every format, as numbers that methods learn from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.data.arrays import Arrays
from frame.data.arrow import Arrow
from frame.data.base import DataSet
from frame.data.counts import Counts
from frame.data.environments import environments_of
from frame.data.huggingface import HuggingFace
from frame.data.images import Images
from frame.data.npy import Npy
from frame.data.series import Series
from frame.data.table import Table
from frame.engine.experiment import build

N = 48
X = np.random.RandomState(0).rand(N, 4).astype(np.float32)
Y = np.arange(N) // 2 % 2
SITE = np.array(["rome", "oslo", "bern", "athens"])[np.arange(N) % 4]
FOLD = np.where(SITE == "athens", "test", "train")
NUMBERS = {"bern": 0, "oslo": 1, "rome": 2, "athens": 3}  # those of 'train' first
HOW: dict[str, Any] = {"env": "site", "split_by": "fold"}


def table(folder: Path) -> DataSet:
    columns = {f"x{i}": X[:, i] for i in range(4)}
    pd.DataFrame({**columns, "y": Y, "site": SITE, "fold": FOLD}).to_csv(folder / "x.csv", index=False)
    return Table(folder / "x.csv", label="y", standardise=False, **HOW)


def arrays(folder: Path) -> DataSet:
    np.savez(folder / "x.npz", x=X, y=Y, site=SITE, fold=FOLD)
    return Arrays(folder / "x.npz", **HOW)


def by_name(folder: Path) -> DataSet:
    """An array called env needs no key."""
    np.savez(folder / "x.npz", x=X, y=Y, env=SITE, fold=FOLD)
    return Arrays(folder / "x.npz", split_by="fold")


def npy(folder: Path) -> DataSet:
    for name, array in (("x", X), ("y", Y), ("site", SITE), ("fold", FOLD)):
        np.save(folder / f"{name}.npy", array)
    return Npy(folder, **HOW)


def arrow(folder: Path) -> DataSet:
    parquet.write_table(pa.table({"x": list(X), "y": Y, "site": SITE, "fold": FOLD}), folder / "x.parquet")
    return Arrow(folder / "x.parquet", **HOW)


def counts(folder: Path) -> DataSet:
    np.savez(folder / "x.npz", x=(X * 9).astype(np.int64) + 1, y=Y, site=SITE, fold=FOLD)
    return Counts(folder / "x.npz", **HOW)


def series(folder: Path) -> DataSet:
    np.savez(folder / "x.npz", x=X[:, :, None], y=Y, site=SITE, fold=FOLD)
    return Series(folder / "x.npz", standardise=False, **HOW)


def images(folder: Path) -> DataSet:
    for i in range(N):
        Image.new("RGB", (4, 4), (5 * i, 0, 0)).save(folder / f"{i:02}.png")
    rows = {"file": [f"{i:02}.png" for i in range(N)], "y": Y, "site": SITE, "fold": FOLD}
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return Images(folder, 4, labels="labels.csv", **HOW)


def huggingface(folder: Path) -> DataSet:
    datasets = pytest.importorskip("datasets")
    rows = {"x": X.tolist(), "label": Y.tolist(), "site": SITE.tolist(), "fold": FOLD.tolist()}
    datasets.Dataset.from_dict(rows).to_parquet(folder / "x.parquet")
    return HuggingFace(folder / "x.parquet", columns={"x": "x", "label": "y"}, **HOW)


Maker = Callable[[Path], DataSet]
IN_FILES: tuple[Maker, ...] = (table, arrays, by_name, npy, arrow, series, huggingface)
STORED: dict[Maker, np.ndarray] = dict.fromkeys(IN_FILES, X)  # the rows of each format, [N, D]
STORED |= {counts: (X * 9).astype(np.int64) + 1, images: 5 * np.arange(N)[:, None]}


@pytest.mark.parametrize("made", STORED, ids=lambda made: made.__name__)
def test_every_format_has_environments(made: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made(tmp_path)
    assert data.n_envs == 3 and set(data.keys) == {"x", "y", "env"} and set(data.splits) == {"train", "valid", "test"}
    assert "3 environments (bern, oslo, rome), 'test' has others (athens)" in capsys.readouterr().err
    for split in data.splits:
        found = data.split(split).batch(torch.arange(len(data.split(split))))
        x = found["x"].flatten(1).numpy()[:, None, : STORED[made].shape[1]]  # [N, 1, D]
        rows = np.abs(x - STORED[made]).sum(2).argmin(1)  # in the file
        assert len(set(rows.tolist())) == len(x) == {"train": 31, "valid": 5, "test": 12}[split]
        assert found["env"].dtype == torch.int64 and found["env"].tolist() == [NUMBERS[SITE[row]] for row in rows]


def test_folders_of_pictures_are_environments(tmp_path: Path) -> None:
    for i in range(24):
        place = tmp_path / f"{'ab'[i % 2]}/{['day', 'night', 'fog'][i % 3]}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (10 * i, 0, 0)).save(place / f"{i}.png")
    data = Images(tmp_path, 4, env="folder", n_test=0)
    assert data.n_envs == 6 and data.classes == ["a", "b"]


def test_numbers_are_in_the_order_of_numbers() -> None:
    found = environments_of({"train": np.array([2010, 2009, 10, 2010]), "test": np.array([9, 10])}, "year", "mine")
    assert found is not None and found.n_trained == 3
    assert found.coded(np.array([10, 2009, 2010, 9])).tolist() == [0, 1, 2, 3]
    assert found.told == "'year': 3 environments (10, 2009, 2010), 'test' has others (9)"
    assert environments_of({"test": np.array([1])}, "year", "mine") is None


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (np.array(["a", None], dtype=object), "mine, 'train': 'env' has no value in row 1: fill it in"),
        (np.array([0.0, np.nan]), "mine, 'train': 'env' has no value in row 1"),
        (np.zeros((4, 2)), r"mine, 'train': 'env' has the shape \[4, 2\]: give one environment a row"),
    ],
)
def test_errors_are_one_line(column: np.ndarray, says: str) -> None:
    with pytest.raises(UserError, match=f"^{says}"):
        environments_of({"train": column}, "env", "mine")


def test_a_method_learns_from_environments_of_a_table(tmp_path: Path) -> None:
    table(tmp_path)
    words = ["model=IRM", "data=table", f"data.train={tmp_path / 'x.csv'}", "data.label=y", "evaluations=null"]
    experiment = build(compose([*words, "data.env=site", "data.drop=[fold]"]))
    assert experiment.model.n_envs == 4
    with pytest.raises(UserError, match="IRM needs 'env' in each batch.* data.env names its column. Data sets with"):
        build(compose([*words, "data.drop=[fold,site]"]))
