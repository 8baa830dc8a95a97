"""Tables of Arrow and Parquet, written here by pyarrow and by `datasets`, and read back."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image

from frame.common.errors import Unread, UserError
from frame.data import row_files
from frame.data.arrow import Arrow
from frame.data.base import DataSet, is_resident
from frame.data.on_disk import OnDisk

RNG = np.random.RandomState(0)
N = 90
PICTURES = RNG.randint(0, 256, (N, 6, 5)).astype(np.uint8)
GREY = torch.from_numpy(PICTURES)[:, None]  # as a model is given them
Y = np.arange(N) % 3


def lists(x: np.ndarray) -> Any:
    """Nested lists, as `datasets` keeps arrays."""
    if x.ndim == 1:
        return pa.array(x)
    inner = lists(x.reshape(-1, *x.shape[2:]))
    return pa.ListArray.from_arrays(pa.array(np.arange(len(x) + 1, dtype=np.int32) * x.shape[1]), inner)


def fixed(x: np.ndarray) -> Any:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(x)


def table(x: Any, **more: Any) -> Any:
    return pa.table({"x": x, "y": Y[: len(x)], **more})


def write_stream(found: Any, file: Path, **options: Any) -> None:
    with pa.ipc.new_stream(file, found.schema) as stream:
        stream.write_table(found, **options)


def write_file(found: Any, file: Path, **options: Any) -> None:
    with pa.ipc.new_file(file, found.schema) as stream:
        stream.write_table(found, **options)


WRITERS = {
    "file": lambda found, file: write_file(found, file, max_chunksize=17),
    "stream": lambda found, file: write_stream(found, file, max_chunksize=17),
    "feather": lambda found, file: feather.write_feather(found, file, compression="uncompressed", chunksize=17),
    "compressed": lambda found, file: feather.write_feather(found, file, compression="lz4", chunksize=17),
    "parquet": lambda found, file: parquet.write_table(found, file, row_group_size=17),
}


def every(data: DataSet, split: str) -> dict[str, Any]:
    return data.split(split).batch(torch.arange(len(data.split(split))))


def all_rows(data: DataSet) -> torch.Tensor:
    """Every row once, by its label in 'z'."""
    parts = [every(data, split) for split in data.splits]
    x, y = (torch.cat([part[key] for part in parts]) for key in "xy")
    return x[y.flatten().long().argsort()]


@pytest.mark.parametrize("nested", [lists, fixed])
@pytest.mark.parametrize("written", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, written: str, nested: Any) -> None:
    file = tmp_path / f"a.{'parquet' if written == 'parquet' else 'arrow'}"
    found = table(nested(PICTURES), number=np.arange(N))
    if written != "parquet":  # a slice, so that rows begin within their buffers
        found = pa.concat_tables([found.slice(40), found.slice(0, 40)])
    WRITERS[written](found, file)
    in_place = written in ("file", "stream", "feather")
    data = Arrow(file, label="number", task="numbers", memory="1 MB")
    assert data.shape == (1, 6, 5) and data.row == "picture"
    assert isinstance(data.split("train"), OnDisk) == in_place
    assert torch.equal(all_rows(data), GREY)
    small = Arrow(file, label="number", task="numbers", memory=600)
    assert not is_resident(small.split("train"))
    for one in (small, pickle.loads(pickle.dumps(small))):
        assert torch.equal(all_rows(one), GREY)
    assert small.identity("train")["rows"] == 72 and Arrow(file).classes == ["0", "1", "2"]


def test_what_does_not_stay_in_the_file_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    WRITERS["parquet"](table(lists(PICTURES)), tmp_path / "a.parquet")
    Arrow(tmp_path / "a.parquet", memory="1 MB").split("train")
    assert "decoded into memory" in capfd.readouterr().err
    Arrow(tmp_path / "a.parquet", memory=600).split("train")
    assert "each row costs its whole group" in (said := capfd.readouterr().err) and "2.7 KB" in said
    WRITERS["file"](table(lists(PICTURES)), tmp_path / "a.arrow")
    Arrow(tmp_path / "a.arrow", memory=600).split("train")
    assert "rows of [1, 6, 5] as uint8, read from the file" in capfd.readouterr().err


def test_what_datasets_saves(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"data": datasets.Array2D((6, 5), "uint8"), "label": datasets.ClassLabel(names=["cat", "dog", "emu"])}
    )
    rows = {"data": list(PICTURES), "label": Y}
    saved = datasets.DatasetDict(
        {"train": datasets.Dataset.from_dict(rows, features), "validation": datasets.Dataset.from_dict(rows, features)}
    )
    saved.save_to_disk(str(tmp_path / "set"), num_shards={"train": 2, "validation": 1})
    data = Arrow("set", big_data_root=tmp_path, n_test=0)
    assert data.classes == ["cat", "dog", "emu"] and data.splits == ("train", "valid")
    assert torch.equal(every(data, "train")["x"], GREY)
    assert torch.equal(every(data, "valid")["y"], torch.from_numpy(Y))
    assert len(data.split("train").x.reader.files) == 2  # type: ignore[attr-defined]


def encoded(path: str | None = None) -> list[Any]:
    found = []
    for picture in PICTURES:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, format="png")
        found.append({"bytes": stream.getvalue(), "path": path} if path else stream.getvalue())
    return found


@pytest.mark.parametrize("written", ["file", "stream", "compressed", "parquet"])
@pytest.mark.parametrize("kind", ["binary", "large", "struct", "paths"])
def test_encoded_pictures(tmp_path: Path, written: str, kind: str) -> None:
    file = tmp_path / f"a.{'parquet' if written == 'parquet' else 'arrow'}"
    pictures = encoded("a.png" if kind in ("struct", "paths") else None)
    if kind == "paths":  # some lie beside the table
        for row in (5, 55):
            (tmp_path / f"{row}.png").write_bytes(pictures[row]["bytes"])
            pictures[row] = {"bytes": None, "path": str(tmp_path / f"{row}.png")}
    column = pa.array(pictures, pa.large_binary()) if kind == "large" else pa.array(pictures)
    found = pa.table({"image": column, "label": Y, "number": np.arange(N)})
    found = pa.concat_tables([found.slice(40), found.slice(0, 40)])
    WRITERS[written](found, file)
    for memory in ("1 MB", 600):
        data = Arrow(file, size=[6, 5], channels=1, label="number", task="numbers", memory=memory)
        assert is_resident(data.split("train")) == (memory == "1 MB") and data.shape == (1, 6, 5)
        assert torch.equal(all_rows(data), GREY)
        assert torch.equal(all_rows(pickle.loads(pickle.dumps(data))), GREY)


def test_a_folder_of_parts_and_splits(tmp_path: Path) -> None:
    found = table(lists(PICTURES), patient=np.arange(N) // 9)
    for name, rows in (("train-00000-of-00002", (0, 40)), ("train-00001-of-00002", (40, 30)), ("test", (70, 20))):
        WRITERS["file"](found.slice(*rows), tmp_path / f"{name}.arrow")
    WRITERS["file"](found, tmp_path / "cache-0123.arrow")
    data = Arrow(tmp_path, n_valid=0)
    assert torch.equal(every(data, "train")["x"], GREY[:70])
    assert torch.equal(every(data, "test")["x"], GREY[70:])
    grouped = Arrow(tmp_path / "train-00001-of-00002.arrow", group="patient", n_valid=0.3, n_test=0.2)
    assert not {*grouped._found["train"].columns["patient"]} & {*grouped._found["valid"].columns["patient"]}


@pytest.mark.parametrize(
    ("columns", "keys", "says"),
    [
        ({"x": [[1.0, 2.0], [3.0]] * 45}, {}, "lists of 1 to 2 values: pad or cut them"),
        ({"x": [[1.0, None]] * 90}, {}, "values are missing"),
        ({"x": [[1.0, 2.0], None] * 45}, {}, "values are missing"),
        ({"x": np.arange(90.0)}, {}, "'x' is double, and rows are lists of numbers"),
        ({"x": [["a", "b"]] * 90}, {}, "no numbers|holds"),
        (
            {"a": lists(PICTURES), "b": lists(PICTURES)},
            {},
            "name the column of rows by data.x=...; the columns are a, b",
        ),
        ({"a": lists(PICTURES)}, {"x": "c"}, "no column 'c'"),
        ({"x": lists(PICTURES)}, {"label": "z"}, "no column 'z'"),
        ({"x": [b"no picture"] * 90}, {}, "row 0 .it is not a known kind of picture."),
    ],
)
def test_bad_columns_are_refused_in_one_line(tmp_path: Path, columns: Any, keys: Any, says: str) -> None:
    for written in ("file", "parquet"):
        file = tmp_path / f"a.{'parquet' if written == 'parquet' else 'arrow'}"
        WRITERS[written](pa.table(columns), file)
        with pytest.raises(UserError, match=says) as caught:
            Arrow(file, **keys).split("train")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet", "a.csv", "folder"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind, and long enough", "cut"])
def test_bad_files_are_refused_in_one_line(tmp_path: Path, name: str, content: Any) -> None:
    file = tmp_path / name
    if name == "folder":
        file.mkdir()
    elif content == "cut":
        WRITERS["parquet" if name == "a.parquet" else "file"](table(lists(PICTURES)), file)
        os.truncate(file, file.stat().st_size // 2)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match="is broken|is no file of Arrow|has no file of Arrow") as caught:
        Arrow(file).split("train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("written", ["file", "parquet"])
def test_a_file_that_changes_is_noticed(tmp_path: Path, written: str) -> None:
    file = tmp_path / f"a.{'parquet' if written == 'parquet' else 'arrow'}"
    WRITERS[written](table(lists(PICTURES)), file)
    source = Arrow(file, memory=600).split("train")
    os.truncate(file, 300)
    with pytest.raises(UserError, match="was changed or replaced"):
        source.batch(torch.arange(70))


def test_pictures_that_are_cut_while_they_are_read_end_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, whole, calls = tmp_path / "a.arrow", os.pread, list[int]()
    WRITERS["file"](pa.table({"image": encoded(), "label": Y}), file)
    source = Arrow(file, size=[6, 5], channels=1, memory=600).split("train")

    def pread(descriptor: int, n: int, offset: int) -> bytes:
        calls.append(offset)
        if len(calls) == 30:
            os.truncate(file, 300)
        return whole(descriptor, n, offset)

    monkeypatch.setattr(row_files.os, "pread", pread)
    with pytest.raises(Unread, match="was changed or replaced"):
        source.batch(torch.arange(70))
    assert len(calls) >= 30


def test_parquet_that_is_cut_while_it_is_read_ends_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.parquet"
    WRITERS["parquet"](table(lists(PICTURES)), file)
    source = Arrow(file, memory=600).split("train")
    check, calls = row_files.RowFile.check, list[int]()

    def checked(self: row_files.RowFile) -> None:
        check(self)
        calls.append(0)
        if len(calls) == 2:
            os.truncate(file, 300)

    monkeypatch.setattr(row_files.RowFile, "check", checked)
    with pytest.raises(Unread, match="was changed or replaced"):
        source.batch(torch.arange(70))
