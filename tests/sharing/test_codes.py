"""Codes as a file: they are the model's own, memory stays flat, and no half file is left."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from torch import Tensor, nn

import frame
from frame.commands.main import main
from frame.common.errors import UserError
from frame.common.interrupts import Interrupted
from frame.data.base import DataSet, Source, whole_batch
from frame.data.memory import InMemory
from frame.probability.distributions import Delta, standard_normal
from frame.sharing.codes import Codes, Part, codes_of_runs, encode, gathered, write_codes


def test_the_file_holds_the_codes_of_the_model(tiny_run: Path, tmp_path: Path, capfd: Any) -> None:
    for ending in ("parquet", "npz", "npy"):
        assert main(["encode", str(tiny_run), "on=[valid,test]", f"out={tmp_path}/new/codes.{ending}"]) == 0
    assert "encoded  " in capfd.readouterr().out
    run, expected = frame.open(tiny_run), []
    for split in ("valid", "test"):
        x = whole_batch(run.data(split), torch.arange(len(run.data(split))))["x"]
        with torch.no_grad():
            expected.append(run.model.encode(x).mean.numpy())  # type: ignore[operator]
    codes = np.concatenate(expected)
    table = parquet.read_table(tmp_path / "new" / "codes.parquet")
    assert np.allclose(np.stack(table["code"].to_pylist()), codes, atol=1e-6)
    assert set(table["run"].to_pylist()) == {tiny_run.as_posix()}
    rows = [len(part) for part in expected]
    assert table["split"].to_pylist() == ["valid"] * rows[0] + ["test"] * rows[1]
    assert table["index"].to_pylist() == [*range(rows[0]), *range(rows[1])]
    labels = whole_batch(run.data("test"), torch.arange(rows[1]))["y"].tolist()
    assert table["label"].to_pylist()[rows[0] :] == labels
    found = frame.encode(run, ["valid", "test"])
    archive = np.load(tmp_path / "new" / "codes.npz")
    assert set(archive.files) == found.keys()
    for name in found:
        assert np.array_equal(archive[name], found[name]), name
    assert np.array_equal(np.load(tmp_path / "new" / "codes.npy", mmap_mode="r"), found["code"])
    features = frame.encode(run, "test", layer="features")["code"]
    assert features.shape[0] == rows[1] and features.shape[1] != codes.shape[1]


class Coding(nn.Module):
    """z = (x, noise) with noise of torch's generator."""

    def encode(self, x: Tensor) -> Any:
        return Delta(torch.cat([x, standard_normal(torch.zeros(2), torch.ones(2)).sample((len(x),))], 1))


class Rows(DataSet):
    """n rows of two numbers, and three more in 'valid', which have no labels."""

    splits = ("train", "valid")

    def __init__(self, n: int, y: Any) -> None:
        super().__init__()
        self.n, self.y = n, y

    def load(self, split: str) -> Source:
        x = torch.arange(2 * self.n).view(self.n, 2) / 10
        return InMemory(x, self.y) if split == "train" else InMemory(x[:3])


def opened(run: str = "runs/a/b", n: int = 10, y: Any = None) -> Any:
    """What `codes_of_runs` reads of a run."""
    data = Rows(n, y)
    folder = SimpleNamespace(path=Path(run))
    return SimpleNamespace(folder=folder, model=Coding(), data_set=data, data=data.split)


def test_rows_keep_their_order_and_noise_for_a_batch_size(tmp_path: Path) -> None:
    first, again = (gathered(codes_of_runs([opened()], batch_size=4)) for _ in range(2))
    assert np.allclose(10 * first["code"][:, 0], [*range(0, 20, 2), 0, 2, 4])
    assert np.array_equal(first["code"], again["code"])
    assert len(np.unique(first["code"][:10, 2])) == 10


def test_rows_without_labels_are_empty(tmp_path: Path) -> None:
    runs = [opened("runs/a", y=torch.arange(10) % 3), opened("runs/b")]
    write_codes(tmp_path / "a.parquet", codes_of_runs(runs))
    table = parquet.read_table(tmp_path / "a.parquet").to_pandas()
    assert table["label"].isna().sum() == 3 + 10 + 3 and table["label"][:3].tolist() == [0, 1, 2]
    assert table["run"].value_counts().to_dict() == {"runs/a": 13, "runs/b": 13}
    write_codes(tmp_path / "a.npz", codes_of_runs(runs))
    found = np.load(tmp_path / "a.npz")
    assert found["label"].tolist() == [*(np.arange(10) % 3), *[-1] * 16] and len(found["code"]) == 26


def made(n_batches: int, size: int = 1000, width: int = 64, fail_at: int | None = None) -> Codes:
    def parts() -> Iterator[Part]:
        for i in range(n_batches):
            if i == fail_at:
                raise Interrupted(15)
            code = np.full((size, width), i, np.float32)
            yield Part("run", "train", {"index": np.arange(size), "code": code, "label": np.arange(size) % 10})

    return Codes(n_batches * size, [next(parts())], parts)


@pytest.mark.parametrize("ending", ["parquet", "npz", "npy"])
def test_memory_is_flat(ending: str, tmp_path: Path) -> None:
    """60 MB of codes are written with less than a tenth of it in memory."""
    write_codes(tmp_path / f"warm.{ending}", made(1))
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()
    write_codes(tmp_path / f"codes.{ending}", made(240))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6 and pool.bytes_allocated() - before < 1e6
    if ending == "parquet":
        assert parquet.ParquetFile(tmp_path / "codes.parquet").num_row_groups == 240
    else:
        found = np.load(tmp_path / f"codes.{ending}", mmap_mode="r")
        codes = found["code"] if ending == "npz" else found
        assert codes.shape == (240_000, 64) and codes[-1, 0] == 239 and codes[1000, 5] == 1


@pytest.mark.parametrize("ending", ["parquet", "npz", "npy"])
def test_an_interrupted_file_leaves_nothing(ending: str, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        write_codes(tmp_path / f"codes.{ending}", made(3, fail_at=2))
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_encoded_is_one_line(tmp_path: Path, tiny_run: Path, capfd: Any) -> None:
    (tmp_path / "there.npz").touch()
    with pytest.raises(UserError, match="nothing is overwritten"):
        write_codes(tmp_path / "there.npz", made(1))
    with pytest.raises(UserError, match="has no layer 'features'"):
        codes_of_runs([opened()], layer="features")
    with pytest.raises(UserError, match="did you mean 'train'"):
        codes_of_runs([opened()], on=["trian"])
    wide = opened("runs/b")
    wide.model.encode = lambda x: Delta(torch.cat([x, x, x], 1))
    with pytest.raises(UserError, match=r"have \[4, 6\] numbers"):
        codes_of_runs([opened(), wide])
    with pytest.raises(UserError, match="no split 'tets'"):
        encode(tiny_run, "tets")
    assert main(["encode", str(tiny_run)]) == 2 and "needs a file: out=codes.parquet" in capfd.readouterr().err
    assert main(["encode", str(tiny_run), "out=a.csv"]) == 2
    assert "a file of codes ends in .parquet, .npz, .npy" in capfd.readouterr().err
