"""Arrays in npz, npy and safetensors files, whole or in splits; nothing is unpickled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from frame.common.errors import UserError
from frame.data.arrays import Arrays
from frame.data.base import whole_batch
from frame.data.npy import Npy

X = np.random.RandomState(0).randint(0, 256, (60, 8, 8, 3)).astype(np.uint8)
Y = np.arange(60) % 3


def rows(data: Arrays, split: str) -> Any:
    return data.split(split).batch(torch.arange(len(data.split(split))))


def test_the_three_formats_hold_the_same_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    save_file({"x": X, "y": Y}, tmp_path / "a.safetensors")
    one, two, three = (
        Arrays(given, data_root=tmp_path) for given in ("a.npz", {"x": "x.npy", "y": "y.npy"}, "a.safetensors")
    )
    assert one.shape == (3, 8, 8) and one.row == "picture" and one.classes == ["0", "1", "2"]
    for other in (two, three):
        for split in ("train", "valid", "test"):
            assert torch.equal(rows(one, split)["x"], rows(other, split)["x"])
            assert torch.equal(rows(one, split)["y"], rows(other, split)["y"])
    assert torch.bincount(rows(one, "test")["y"]).tolist() == [2, 2, 2]
    assert "y" not in rows(Arrays(tmp_path / "x.npy"), "train")
    assert "y" not in rows(Arrays(tmp_path / "a.npz", label="none"), "train")


def test_splits_and_names_inside_one_file(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "emu"])
    np.savez(tmp_path / "a.npz", x_train=X[:50], y_train=Y[:50], x_test=X[50:], y_test=Y[50:], classes=names)
    data = Arrays(tmp_path / "a.npz")
    assert data.classes == ["cat", "dog", "emu"] and {s: len(data.split(s)) for s in data.splits} == {
        "train": 45, "valid": 5, "test": 10,
    }  # fmt: skip
    assert torch.equal(rows(data, "test")["x"], torch.from_numpy(X[50:]).permute(0, 3, 1, 2))


def test_floats_are_standardised_if_asked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.random.RandomState(0).randn(50, 4) * 7 + 3, y=np.random.RandomState(1).rand(50))
    found = rows(Arrays(tmp_path / "a.npz", standardise=True), "train")
    torch.testing.assert_close(found["x"].std(0, correction=0), torch.ones(4))
    assert found["y"].dtype == torch.float32 and abs(found["y"].mean()) < 1e-6
    assert rows(Arrays(tmp_path / "a.npz"), "train")["x"].mean() > 2


def test_groups_are_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y, patient=np.arange(60) // 6)
    data = Arrays(tmp_path / "a.npz", group="patient")
    assert {len(set(part.columns["patient"])) for part in data._found.values()} == {8, 1}
    with pytest.raises(UserError, match="no column 'patients': did you mean 'patient'"):
        Arrays(tmp_path / "a.npz", group="patients").split("train")


@pytest.mark.parametrize(
    ("arrays", "keys", "says"),
    [
        ({"a": X, "b": X}, {}, r"several arrays, a \[60, 8, 8, 3\], b .* name the rows by data.x"),
        ({"x": X, "y": Y}, {"label": "z"}, "there is no array 'z'"),
        ({"x": X, "y": Y[:50]}, {}, "has 60 rows and 50 labels"),
        ({"x": np.array(["a", "b"])}, {}, "no numbers"),
        ({"x": np.arange(5.0)}, {}, r"rows are \[N, ...\]"),
        ({"x": np.array([[1.0, np.nan]] * 20)}, {}, "NaN or infinite in 16 of 16 rows"),
        ({"x": np.array([None, "a"], dtype=object)}, {}, "Python objects, which can run code"),
        ({"x_train": X, "x_test": X[:, :4]}, {}, r"rows of 'test' have the shape \[4, 8, 3\]"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, arrays: Any, keys: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=says) as caught:
        Arrays(tmp_path / "a.npz", **keys).split("train")
    assert "\n" not in str(caught.value)


def test_broken_and_unknown_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.npz", "a.npy", "a.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(UserError, match="is broken|which can run code"):
            Arrays(tmp_path / name).split("train")
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(UserError, match="is no file of arrays: give one of .npz, .npy, .safetensors"):
        Arrays(tmp_path / "a.pkl").split("train")


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_grey_pictures_without_a_channel_get_one(mapped: bool, dtype: type, tmp_path: Path) -> None:
    """[N, H, W] would else be taken for series of H channels."""
    x: np.ndarray = np.random.default_rng(0).integers(0, 2, (20, 8, 8)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    data = (Npy if mapped else Arrays)(str(tmp_path / "x.npy"))
    assert data.shape == (1, 8, 8) and data.row == "picture"
    assert whole_batch(data.split("train"), torch.arange(3))["x"].shape == (3, 1, 8, 8)
