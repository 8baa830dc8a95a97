"""Rows outside of the memory: the same as in memory, whatever their type, and one line if their file changes."""

import copy
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frame.common.errors import Unread, UserError
from frame.data import on_disk, row_files
from frame.data.arrays import Arrays
from frame.data.base import DataSet, is_resident
from frame.data.concat import ConcatRows
from frame.data.loader import Loader
from frame.data.npy import Npy
from frame.data.on_disk import OnDisk, Stored, mean_and_scale
from frame.data.row_files import FileRows, Piece, RowFile, npy_rows
from frame.data.take import TakenRows
from frame.data.zip import ZippedRows

RNG = np.random.RandomState(0)
PICTURES = RNG.randint(0, 256, (120, 9, 9, 3)).astype(np.uint8)
KINDS = {
    "pictures": PICTURES,
    "grey": PICTURES[..., 0],
    "floats": RNG.randn(120, 7),
    "half": RNG.randn(120, 2, 5).astype(np.float16),
    "big-endian": RNG.randn(120, 5).astype(">f4"),
    "big-endian whole": RNG.randint(0, 99, (120, 5)).astype(">i4"),
    "tokens": RNG.randint(0, 50, (120, 11)).astype(np.uint16),
    "truth": RNG.rand(120, 6, 6) > 0.5,
}


def folder(place: Path, x: Any, **more: Any) -> Path:
    place.mkdir(exist_ok=True)
    for name, array in {"x": x, "y": np.arange(len(x)) % 3, **more}.items():
        np.save(place / f"{name}.npy", array)
    return place


def every(data: DataSet, split: str) -> dict[str, Any]:
    return data.split(split).batch(torch.arange(len(data.split(split))))


@pytest.mark.parametrize("kind", KINDS)
def test_mapped_rows_are_those_in_memory(tmp_path: Path, kind: str) -> None:
    given = folder(tmp_path / "set", KINDS[kind])
    mapped, memory = Npy(given), Arrays(given)
    assert mapped.shape == memory.shape and mapped.row == memory.row and mapped.classes == memory.classes
    assert not is_resident(mapped.split("train")) and is_resident(memory.split("train"))
    for split in ("train", "valid", "test"):
        one, other = every(mapped, split), every(memory, split)
        assert one["x"].dtype == other["x"].dtype and one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert mapped.identity(split) == memory.identity(split)
    for one, other in zip(Loader(mapped.split("train"), 7), Loader(memory.split("train"), 7), strict=True):
        assert torch.equal(one["x"], other["x"]) and torch.equal(one["index"], other["index"])


def test_files_of_splits_and_names(tmp_path: Path) -> None:
    for split, rows in (("train", slice(0, 90)), ("test", slice(90, 120))):
        folder(tmp_path / "nested", PICTURES[:0])
        folder(tmp_path / "nested" / split, PICTURES[rows])
        np.save(tmp_path / f"x_{split}.npy", PICTURES[rows])
    for name in ("x", "y"):
        (tmp_path / "nested" / f"{name}.npy").unlink()
    for given in (tmp_path / "nested", tmp_path):
        data = Npy(given, big_data_root=tmp_path)
        assert {split: len(data.split(split)) for split in data.splits} == {"train": 81, "valid": 9, "test": 30}
        assert torch.equal(every(data, "test")["x"], torch.from_numpy(PICTURES[90:]).permute(0, 3, 1, 2))
    named = {"pixels": "x_train.npy", "kind": "kinds.npy", "patient": "patients.npy"}
    np.save(tmp_path / "kinds.npy", np.array(["a", "b", "c"] * 30))
    np.save(tmp_path / "patients.npy", np.arange(90) // 9)
    data = Npy(named, x="pixels", label="kind", group="patient", big_data_root=tmp_path)
    assert data.classes == ["a", "b", "c"]
    assert {len(set(part.columns["patient"])) for part in data._found.values()} == {8, 1}


def test_statistics_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk, "CHUNK", 3000)
    x = RNG.randn(500, 4) * [1, 2, 3, 0] + [1e6, 0, -5, 2]
    given = folder(tmp_path / "set", x)
    stored = Npy(given)._found["train"].x
    mean, scale = mean_and_scale(stored)
    train = x[stored.rows]
    np.testing.assert_allclose(mean, train.mean(0), rtol=1e-12)
    np.testing.assert_allclose(scale, np.where(train.std(0) > 1e-9, train.std(0), 1), rtol=1e-6)
    one, other = (
        every(Npy(given, standardise=True), "test"),
        every(Arrays(given, standardise=True), "test"),
    )
    torch.testing.assert_close(one["x"], other["x"], atol=1e-5, rtol=1e-5)
    whole = mean_and_scale(Npy(folder(tmp_path / "b", x[:, :, None]))._found["train"].x)
    assert [part.dim() for part in whole] == [0, 0]


@pytest.mark.parametrize("n_files", [1, 3])
def test_rows_lie_in_pieces_anywhere(tmp_path: Path, n_files: int) -> None:
    pieces, rows = [], []
    for i in range(n_files):
        file = tmp_path / f"{i}.bin"
        file.write_bytes(RNG.bytes(5000))
        held, content = RowFile(file), file.read_bytes()
        for offset, n in ((3, 40), (997, 11), (2001, 100)):
            pieces.append(Piece(held, offset, n))
            rows += [content[offset + 12 * j : offset + 12 * j + 12] for j in range(n)]
    reader = FileRows(pieces, np.dtype(">i2"), (2, 3))
    order = RNG.permutation(len(reader))
    expected = np.frombuffer(b"".join(rows), ">i2").reshape(-1, 2, 3)[order]
    assert len(reader) == len(rows) and np.array_equal(reader.read(order), expected)
    for other in (pickle.loads(pickle.dumps(reader)), copy.deepcopy(reader)):
        assert np.array_equal(other.read(order), expected)
    assert len(pickle.dumps(reader)) < 2000  # paths, and no rows


def test_neighbours_are_read_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", PICTURES)
    reader, whole, sizes = npy_rows(np.load(tmp_path / "x.npy", mmap_mode="r"), "x"), os.pread, list[int]()

    def pread(descriptor: int, n: int, offset: int) -> bytes:
        sizes.append(n // 243)
        return whole(descriptor, n, offset)

    monkeypatch.setattr(row_files.os, "pread", pread)
    order = np.array([*range(7, 19), 3, 4, 0, 0, 119, 118])
    assert np.array_equal(reader.read(order), PICTURES[order]) and sizes == [12, 2, 1, 1, 1, 1]
    monkeypatch.setattr(row_files, "AT_ONCE", 5 * 243)
    sizes.clear()
    assert np.array_equal(reader.read(np.arange(12)), PICTURES[:12]) and sizes == [5, 5, 2]


def test_a_file_that_is_cut_while_its_rows_are_read_ends_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", PICTURES)
    source, whole, calls = Npy(tmp_path / "x.npy", n_valid=0, n_test=0).split("train"), os.pread, list[int]()

    def pread(descriptor: int, n: int, offset: int) -> bytes:
        calls.append(offset)
        if len(calls) == 50:
            os.truncate(tmp_path / "x.npy", 300)
        return whole(descriptor, n, offset)

    monkeypatch.setattr(row_files.os, "pread", pread)
    with pytest.raises(Unread, match="x.npy was changed or replaced") as caught:
        source.batch(torch.arange(119, -1, -1))
    assert len(calls) == 120 and "\n" not in str(caught.value)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "shrank": lambda file: os.truncate(file, 300),
    "replaced": lambda file: os.replace(shutil.copy(file, f"{file}.new"), file),
    "written": lambda file: os.utime(file, ns=(1, 1)),
    "gone": os.remove,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_is_noticed(tmp_path: Path, change: str) -> None:
    source = Npy(folder(tmp_path / "set", PICTURES)).split("train")
    again = pickle.loads(pickle.dumps(source))
    CHANGES[change](tmp_path / "set" / "x.npy")
    for one in (source, again):
        with pytest.raises(UserError, match="x.npy (was changed or replaced|cannot be read any more)") as caught:
            one.batch(torch.arange(3))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.asfortranarray(RNG.randn(60, 4)), "stored by columns"),
        (np.array([[1, "a"]] * 60, dtype=object), "Python objects, which can run code"),
        (np.array([["a", "b"]] * 60), "holds <U1 and no numbers"),
        (RNG.randn(60, 4).astype(np.complex64), "holds complex64 and no numbers"),
        (np.zeros((60, 0)), "which hold nothing"),
        (np.zeros((0, 3)), "'train' has no rows"),
        (RNG.randint(0, 256, (60, 3, 8, 8)).astype(np.float32), "give 0 to 255 as uint8"),
        (np.arange(60.0), r"rows are \[N, ...\]"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(tmp_path: Path, x: np.ndarray, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Npy(folder(tmp_path / "set", x)).split("train")
    assert "\n" not in str(caught.value)


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    given = folder(tmp_path / "set", PICTURES)
    os.truncate(given / "x.npy", 1000)
    with pytest.raises(UserError, match="cut short"):
        Npy(given).split("train")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="has no .npy file"):
        Npy(tmp_path / "none").split("train")
    np.savez(tmp_path / "x.npz", x=PICTURES)
    with pytest.raises(UserError, match="only rows of .npy files can stay there"):
        Npy(tmp_path / "x.npz").split("train")


def test_a_number_that_is_none_is_named_when_it_is_read(tmp_path: Path) -> None:
    x = RNG.randn(60, 4)
    x[17, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    source = Npy(tmp_path / "x.npy", n_valid=0, n_test=0).split("train")
    source.batch(torch.arange(17))
    with pytest.raises(UserError, match="row 17 is NaN or infinite"):
        source.batch(torch.arange(60))
    with pytest.raises(UserError, match="row 17 is NaN or infinite"):
        Npy(tmp_path / "x.npy", standardise=True, n_valid=0, n_test=0).split("train")
    x[17, 2] = 3e38  # large numbers, whose sum is infinite, are numbers
    x[18, 2] = 3e38
    np.save(tmp_path / "big.npy", x.astype(np.float32))
    Npy(tmp_path / "big.npy", n_valid=0, n_test=0).split("train").batch(torch.arange(60))


def test_copies_among_the_first_rows_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x = PICTURES.copy()
    x[60:] = x[:60]
    np.save(tmp_path / "x.npy", x)
    Npy(tmp_path / "x.npy", n_test=0, n_valid=0.2).split("train")
    assert re.search(
        r"\d+ of 24 rows of 'valid' that were compared are equal to one of 'train'", capfd.readouterr().err
    )


def test_dynamic_pixels_are_those_in_memory_and_static_ones_refused(tmp_path: Path) -> None:
    given = folder(tmp_path / "set", PICTURES)
    one, other = (next(iter(Loader(kind(given, binarize="dynamic").split("train"), 16))) for kind in (Npy, Arrays))
    assert torch.equal(one["x"], other["x"]) and one["x"].unique().tolist() == [0, 1]
    with pytest.raises(UserError, match="binarize=static keeps the pictures in memory"):
        Npy(given, binarize="static").split("train")


class Counted:
    """A reader that counts the rows it is asked for at once."""

    dtype, shape, cheap, most = np.dtype(np.float32), (1000,), True, 0

    def __len__(self) -> int:
        return 1_000

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.most = max(self.most, len(rows))
        return np.zeros((len(rows), 1000), np.float32)


def test_a_pass_over_all_rows_reads_them_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk, "CHUNK", 1 << 18)
    reader = Counted()
    source = OnDisk(Stored(reader))
    mean_and_scale(source.x)
    assert reader.most * 4000 <= on_disk.CHUNK


class Told(Counted):
    """A reader that notes what it is told and what it is asked for."""

    def __init__(self) -> None:
        self.log: list[tuple[str, list[int]]] = []

    def ahead(self, rows: np.ndarray) -> None:
        self.log.append(("ahead", rows.tolist()))

    def read(self, rows: np.ndarray) -> np.ndarray:
        self.log.append(("read", rows.tolist()))
        return super().read(rows)


def test_rows_are_announced_before_they_are_read() -> None:
    """By a loader, through sources that are made of others."""
    reader = Told()
    rows = OnDisk(Stored(reader))
    zipped = ZippedRows(
        ConcatRows(TakenRows(rows, 20, skip=3), TakenRows(rows, 10, skip=30)), {"other": TakenRows(rows, 5)}
    )
    for source in (rows, zipped):
        reader.log.clear()
        for _ in Loader(source, 4, in_flight=2, limit=6):
            pass
        told, asked = ([row for what, some in reader.log for row in some if what == kind] for kind in ("ahead", "read"))
        first = 4 if source is rows else 8  # the first batch, for which there is no time
        assert len(asked) == 6 * first and sorted(told) == sorted(asked[first:])


def test_what_was_announced_is_announced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", PICTURES)
    reader = npy_rows(np.load(tmp_path / "x.npy", mmap_mode="r"), "x")
    told: list[int] = []
    monkeypatch.setattr(RowFile, "announce", lambda self, start, n: told.append(len(start)))
    monkeypatch.setattr(row_files, "WARY", 3)
    reader._lay_out()
    for _ in range(3):
        reader.ahead(np.arange(5))
        row_files._thread().submit(int).result()  # it has told
        assert np.array_equal(reader.read(np.arange(5)), PICTURES[:5])
    assert told == [5, 5, 5]
    reader.read(np.arange(7))  # nothing waited for the disk, so there is nothing to gain
    assert told == [5, 5, 5]
