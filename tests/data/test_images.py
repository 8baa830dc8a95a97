"""Folders of real pictures, written here and read back."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frame.common.errors import UserError
from frame.data.base import is_resident
from frame.data.images import Images
from frame.data.loader import Loader


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
    before = {path for path in Images(animals)._found["train"].x}
    picture(animals / "dog/new.png", (0, 0, 0))
    after = {path for path in Images(animals)._found["train"].x}
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
    with pytest.raises(UserError, match="no split 'test': set data.n_test above 0, or make a folder test/"):
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


def test_splits_without_a_folder_are_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(20):
        picture(tmp_path / f"train/{i}.png", (i, 0, 0))
    picture(tmp_path / "val/0.png", (99, 0, 0))
    data = Images(tmp_path, size=4)
    assert {split: len(data.split(split)) for split in data.splits} == {"train": 18, "valid": 1, "test": 2}
    assert "2 as 'test' held out of 20 rows, by their names" in capsys.readouterr().err
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match="no pictures .* for 'test' in .*test"):
        Images(tmp_path).split("train")


def test_broken_pictures_are_named_in_one_line(animals: Path) -> None:
    whole = (animals / "cat/3.png").read_bytes()
    (animals / "cat/3.png").write_bytes(whole[: len(whole) // 2])
    (animals / "dog/more/5.png").write_bytes(b"<html>")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(animals / "cat/deep.tif")
    with pytest.raises(UserError, match="3 of 41 pictures in .* cannot be read: ") as caught:
        Images(animals, n_valid=0, n_test=0).split("train")
    assert all(name in str(caught.value) for name in ("cat/3.png", "cat/deep.tif", "dog/more/5.png"))
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


# Labels of a table, sizes, channels, splits


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for i in range(20):
        picture(tmp_path / f"album/p{i // 4}/{i:02}.png", (10 * i, 0, 0))
    return tmp_path / "album"


def csv(album: Path, header: str, *lines: str) -> Path:
    file = album.parent / "labels.csv"
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def reds(data: Images, split: str) -> list[tuple[int, Any]]:
    found = every_row(data, split)
    return list(zip(found["x"][:, 0, 0, 0].tolist(), found["y"].tolist(), strict=True))


@pytest.mark.parametrize("name", ["p{}/{:02}.png", "{1:02}.png", "{1:02}", "album/p{}/{:02}.png", "./p{}/{:02}"])
def test_rows_of_a_table_are_found_by_paths_and_names(album: Path, name: str) -> None:
    file = csv(album, "kind,image", *[f"{'odd' if i % 2 else 'even'},{name.format(i // 4, i)}" for i in range(20)])
    data = Images(album, 4, labels=file)
    assert data.classes == ["even", "odd"] and data.keys == ("x", "y") and data.shape == (3, 4, 4)
    rows = [row for split in data.splits for row in reds(data, split)]
    assert sorted(rows) == [(10 * i, i % 2) for i in range(20)]
    assert {split: len(data.split(split)) for split in data.splits} == {"train": 16, "valid": 2, "test": 2}


def test_numbers_and_several_labels_of_a_table(album: Path) -> None:
    file = csv(album, "id,age,tags,a,b", *[f"{i:02},{i / 2},{'x|y' if i % 2 else ''},1,{i % 2}" for i in range(20)])
    data = Images(album, 4, labels=file, label="age", standardise=False)
    assert sorted(reds(data, "train"))[0][1] == 0.0 and every_row(data, "train")["y"].dtype == torch.float32
    assert data.n_classes is None and data.targets is not None and data.targets.kind == "numbers"
    for data in (
        Images(album, 4, labels=file, label="tags", task="labels"),
        Images(album, 4, labels=file, label=["b", "a"]),
    ):
        y = every_row(data, "train")["y"]
        assert y.dtype == torch.bool and y.shape == (16, 2)
    tags = Images(album, 4, labels=file, label="tags", task="labels")
    assert all(y == [red // 10 % 2 == 1] * 2 for red, y in reds(tags, "train"))
    assert tags.targets is not None and tags.targets.names == ("x", "y")


def test_a_column_of_the_table_names_splits(album: Path) -> None:
    file = csv(album, "file,kind,set", *[f"{i:02}.png,{'ab'[i % 2]},{['train', 'test'][i > 14]}" for i in range(20)])
    data = Images(album, 4, labels=file, split_by="set", n_valid=0)
    assert sorted(red for red, _ in reds(data, "test")) == [150, 160, 170, 180, 190] and data.classes == ["a", "b"]
    with pytest.raises(UserError, match="the column 'set' of .* names splits: set data.split_by=set"):
        Images(album, 4, labels=file).split("train")


def test_groups_and_time_of_a_table_and_without_one(album: Path) -> None:
    file = csv(album, "file,kind,day,who", *[f"{i:02}.png,{'ab'[i % 2]},{40 - i},{i % 5}" for i in range(20)])
    data = Images(album, 4, labels=file, label="kind", group="who", n_valid=0.2, n_test=0.2)
    of = {split: {red // 10 % 5 for red, _ in reds(data, split)} for split in data.splits}
    assert not of["train"] & of["valid"] and not of["train"] & of["test"] and not of["valid"] & of["test"]
    data = Images(album, 4, labels=file, label="kind", split_by="time", time="day")
    assert sorted(red for red, _ in reds(data, "test")) == [0, 10]  # the highest days
    folders = Images(album, 4, group="folder", labels=file, label="kind", n_valid=0.2, n_test=0.2)
    assert len({red // 40 for red, _ in reds(folders, "test")}) == 1
    flat = album.parent / "flat"
    for i in (1, 2, 9, 10, 11, 12, 13, 14, 15, 16):
        picture(flat / f"frame{i}.png", (i, 0, 0))
    x = every_row(Images(flat, 4, split_by="time", n_test=0.2), "test")["x"]
    assert sorted(x[:, 0, 0, 0].tolist()) == [15, 16]  # 9 is before 10


def test_a_seed_holds_out_others(animals: Path) -> None:
    held = [every_row(Images(animals, 4, seed=seed), "test")["x"] for seed in (0, 0, 1)]
    assert torch.equal(held[0], held[1]) and not torch.equal(held[0], held[2])


LINES = [f"{i:02}.png,{'ab'[i % 2]}" for i in range(20)]


def test_rows_and_pictures_without_one_another_are_told(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Images(album, 4, labels=csv(album, "file,kind", *LINES[:18], "30.png,a", "31.png,b"))
    assert sum(len(data.split(split)) for split in data.splits) == 18
    told = capsys.readouterr().err
    assert "2 rows of labels.csv without a picture left out (30.png, 31.png)" in told
    assert "2 pictures without a row in labels.csv left out (p4/18.png, p4/19.png)" in told


@pytest.mark.parametrize(
    ("header", "lines", "arguments", "says"),
    [
        ("file,kind", [*LINES, "p0/00.png,b"], {}, "rows 0 and 20 of .*labels.csv are both p0/00.png: keep one"),
        ("file,kind", ["a.png,a", "b.png,b"], {}, "no row of .* is a picture in .*album: it names a.png, b.png"),
        ("file", ["00.png"], {}, "no column to predict beside 'file'"),
        ("file,kind", LINES, {"label": "knd"}, "kind"),
        ("file,kind", LINES, {"file": "fil"}, "file"),
        ("file,kind", LINES, {"group": "who"}, "who"),
        ("file,kind,who", [f"{line},me" for line in LINES], {}, "kind, who hold words: name one column by data.label"),
        ("n,m", ["1,2"], {}, "no column with names of files, only n, m"),
        ("file,kind", [f"{i:02}.png," for i in range(20)], {}, "no row has a label in label 'kind'"),
    ],
)
def test_tables_that_do_not_fit(
    album: Path, header: str, lines: list[str], arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Images(album, 4, labels=csv(album, header, *lines), **arguments).split("train")
    assert "\n" not in str(caught.value)


def test_a_name_in_two_folders_is_refused(album: Path) -> None:
    picture(album / "p1/00.png", (0, 0, 0))
    with pytest.raises(UserError, match="'00.png' in row 0 of .* can be p0/00.png, p1/00.png: write the folder"):
        Images(album, 4, labels=csv(album, "file,kind", *LINES)).split("train")
    with pytest.raises(UserError, match="there is no nowhere.csv"):
        Images(album, 4, labels="nowhere.csv").split("train")
    with pytest.raises(UserError, match="set data.labels"):
        Images(album, 4, label="kind")


def test_sizes(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / f"{i}.png", (i, 0, 0), (30, 20))
    whole: dict[str, Any] = {"n_valid": 0, "n_test": 0}
    data = Images(tmp_path, [4, 6], **whole)
    assert data.shape == (3, 4, 6) == every_row(data, "train")["x"].shape[1:]
    data = Images(tmp_path, None, **whole)
    assert data.shape == (3, 20, 30) == every_row(data, "train")["x"].shape[1:]
    picture(tmp_path / "other.png", (0, 0, 0), (20, 30))
    with pytest.raises(UserError, match="other.png .it has 30 x 20 pixels, the first 20 x 30: set data.size"):
        Images(tmp_path, None, **whole).split("train")


def test_four_channels_keep_transparency(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 51)).save(tmp_path / "0.png")
    Image.new("L", (8, 8), 9).save(tmp_path / "1.png")
    data = Images(tmp_path, 4, 4, n_valid=0, n_test=0)
    assert every_row(data, "train")["x"][:, :, 0, 0].tolist() == [[255, 0, 0, 51], [9, 9, 9, 255]]


def test_16_bits_become_8_by_a_stated_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, value in enumerate((0, 257, 4095)):
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(tmp_path / f"{i}.png")
    whole: dict[str, Any] = {"size": 4, "channels": 1, "n_valid": 0, "n_test": 0}
    assert every_row(Images(tmp_path, **whole), "train")["x"][:, 0, 0, 0].tolist() == [0, 1, 16]
    assert (
        "3 of 3 pictures have 16 bits: 65535 became white, and their largest value is 4095" in capsys.readouterr().err
    )
    assert every_row(Images(tmp_path, **whole, white=4095), "train")["x"][:, 0, 0, 0].tolist() == [0, 16, 255]
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "3.tif")
    with pytest.raises(UserError, match="3.tif .it has floating-point numbers: set data.white"):
        Images(tmp_path, **whole).split("train")
    assert every_row(Images(tmp_path, **whole, white=1), "train")["x"][3, 0, 0, 0] == 128


def test_classes_with_one_picture_and_copies_are_told(animals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(animals / "emu/0.png", (1, 2, 3))
    data = Images(animals, 4)
    data.split("train")
    assert "'valid' lacks emu (1 classes); 'test' lacks emu (1 classes)" in capsys.readouterr().err
    first, held = data._found["train"].x[0], data._found["test"].x[0]
    (animals / held).write_bytes((animals / first).read_bytes())
    data = Images(animals, 4)
    assert len(data.split("train")) and len(data.split("test"))
    assert "1 of 4 rows of 'test' are equal to one of 'train'" in capsys.readouterr().err


def test_pictures_that_do_not_fit_are_decoded_by_each_batch(animals: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kept, each = Images(animals, 4, memory="1 MB"), Images(animals, 4, memory=40 * 3 * 4 * 4 - 1)
    assert is_resident(kept.split("train")) and not is_resident(each.split("train"))
    said = capfd.readouterr().err
    assert (
        "decoded once and kept in memory (1.92 KB)" in said and "1.92 KB are more than device.memory_for_data" in said
    )
    for split in ("train", "valid", "test"):
        assert kept.identity(split) == each.identity(split)
        for key, rows in every_row(kept, split).items():
            assert torch.equal(rows, every_row(each, split)[key])
    for workers in (0, 1):
        loaders = [Loader(data.split("train"), 7, num_workers=workers) for data in (kept, each)]
        for one, other in zip(*loaders, strict=True):
            assert torch.equal(one["x"], other["x"]) and torch.equal(one["y"], other["y"])
    again = pickle.loads(pickle.dumps(each.split("train")))
    assert torch.equal(again.batch(torch.arange(3))["x"], every_row(kept, "train")["x"][:3])
    with pytest.raises(UserError, match="binarize=static keeps the pictures in memory"):
        Images(animals, 4, binarize="static", memory=1).split("train")


def test_a_picture_that_breaks_later_is_named(animals: Path) -> None:
    source = Images(animals, 4, memory=1).split("train")
    for file in animals.glob("cat/*.png"):
        file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(UserError, match=r"\d+ of 32 pictures in .* cannot be read: cat/\d+.png .it is") as caught:
        source.batch(torch.arange(32))
    assert "\n" not in str(caught.value)
