"""Folders of real pictures, written here and read back."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frame.common.errors import UserError
from frame.data.images import Images


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    for i in range(20):
        picture(tmp_path / f"cat/{i}.png", (200, i, 0), (8 + i, 8))
        picture(tmp_path / f"dog/more/{i}.png", (10, i, 0), (8, 8 + i))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "cat/._0.png").write_text("what some systems leave behind")
    return tmp_path


def every_row(data: Images, split: str) -> dict[str, Any]:
    return data.split(split).batch(torch.arange(len(data.split(split))))


def test_class_folders(animals: Path) -> None:
    data = Images(animals, size=4, n_valid=0.25, n_test=0.1)
    parts = {split: every_row(data, split) for split in data.splits}
    assert {split: len(part["x"]) for split, part in parts.items()} == {"train": 26, "valid": 10, "test": 4}
    assert data.classes == ["cat", "dog"] and data.n_classes == 2 and data.shape == (3, 4, 4)
    x, y = (torch.cat([part[key] for part in parts.values()]) for key in "xy")
    assert x.shape == (40, 3, 4, 4) and x.dtype == torch.uint8
    assert torch.equal(x[:, 0, 0, 0] == 10, y == 1)
    seen = sorted(zip(x[:, 0, 2, 2].tolist(), x[:, 1, 2, 2].tolist(), strict=True))
    assert seen == [(red, i) for red in (10, 200) for i in range(20)]  # every picture once


def test_a_picture_stays_in_its_split(animals: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("other") / "copy"
    os.symlink(animals, elsewhere)
    for split in ("train", "valid", "test"):
        assert torch.equal(every_row(Images(animals, 4), split)["x"], every_row(Images(elsewhere, 4), split)["x"])
    before = {path for path in Images(animals)._paths["train"][1]}
    picture(animals / "dog/new.png", (0, 0, 0))
    after = {path for path in Images(animals)._paths["train"][1]}
    assert len(before - after) <= 1


def test_the_shorter_side_is_resized_and_the_centre_kept(tmp_path: Path) -> None:
    stripes = np.zeros((16, 48, 3), np.uint8)
    stripes[:, 16:32] = (0, 120, 255)
    stripes[:8, 16:32] = (255, 120, 0)
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    Image.fromarray(stripes).save(tmp_path / "wide.jpg", quality=100, subsampling=0)
    data = Images(tmp_path, size=8, n_valid=0, n_test=0)
    x = every_row(data, "train")["x"]
    assert x.shape == (2, 3, 8, 8) and "y" not in every_row(data, "train") and data.n_classes is None
    for channel, (top, bottom) in enumerate([(255, 0), (120, 120), (0, 255)]):
        # resizing blends the outermost columns a little with what was cut off
        assert (x[:, channel, :3].float() - top).abs().max() < 20
        assert (x[:, channel, 5:].float() - bottom).abs().max() < 20
    grey = every_row(Images(tmp_path, size=8, channels=1, n_valid=0, n_test=0), "train")["x"]
    assert grey.shape == (2, 1, 8, 8)
    with pytest.raises(UserError, match="no pictures .* for 'test'"):
        data.split("test")


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    half = np.zeros((8, 8, 3), np.uint8)
    half[:4] = 255  # white above; the camera says: turn it by 180 degrees
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(half).save(tmp_path / "photo.jpg", exif=exif, quality=100)
    x = every_row(Images(tmp_path, size=8, n_valid=0, n_test=0), "train")["x"][0, 0]
    assert x[:4].float().mean() < 10 and x[4:].float().mean() > 245


def test_folders_named_as_splits_are_the_splits(tmp_path: Path) -> None:
    for i in range(10):
        picture(tmp_path / f"train/b/{i}.png", (i, 0, 0))
        picture(tmp_path / f"train/a/{i}.png", (i, 1, 0))
    picture(tmp_path / "test/b/0.png", (100, 0, 0))
    data = Images(tmp_path, size=4, n_valid=0.2)
    assert [len(data.split(split)) for split in data.splits] == [16, 4, 1]
    assert every_row(data, "test")["y"].tolist() == [1] and data.classes == ["a", "b"]
    picture(tmp_path / "valid/a/0.png", (50, 1, 0))
    data = Images(tmp_path, size=4)
    assert [len(data.split(split)) for split in data.splits] == [20, 1, 1]
    assert every_row(data, "valid")["x"][0, :, 0, 0].tolist() == [50, 1, 0]


def test_a_split_s_folder_that_is_not_there(tmp_path: Path) -> None:
    picture(tmp_path / "train/0.png", (0, 0, 0))
    with pytest.raises(UserError, match="no pictures .* for 'test'"):
        Images(tmp_path).split("test")


def test_broken_pictures_are_named_in_one_line(animals: Path) -> None:
    whole = (animals / "cat/3.png").read_bytes()
    (animals / "cat/3.png").write_bytes(whole[: len(whole) // 2])
    (animals / "dog/more/5.png").write_bytes(b"<html>")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(animals / "cat/deep.png")
    with pytest.raises(UserError, match="3 of 41 pictures in .* cannot be read: ") as caught:
        Images(animals, n_valid=0, n_test=0).split("train")
    assert all(name in str(caught.value) for name in ("cat/3.png", "cat/deep.png", "dog/more/5.png"))
    assert "\n" not in str(caught.value)


def test_errors(tmp_path: Path, animals: Path) -> None:
    with pytest.raises(UserError, match="no folder .*nowhere: set data.root"):
        Images(tmp_path / "nowhere").split("train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures .*png"):
        Images(tmp_path / "empty").split("train")
    picture(animals / "loose.png", (0, 0, 0))
    with pytest.raises(UserError, match="loose.png lies beside class folders"):
        Images(animals).split("train")
    for arguments in (
        {"size": 0},
        {"channels": 2},
        {"n_valid": 0.6, "n_test": 0.4},
        {"n_test": -0.1},
        {"binarize": "x"},
    ):
        with pytest.raises(UserError):
            Images(animals, **arguments)
