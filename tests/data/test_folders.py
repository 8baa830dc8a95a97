"""Folders of many layouts are read, or refused with advice; files that are left out are reported."""

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frame.common.errors import UserError
from frame.data.images import Images

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def some(root: Path, *folders: str, n: int = 10, ending: str = ".png") -> Path:
    for k, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            Image.fromarray(np.full((6, 6), 20 * k + i, np.uint8)).save(root / folder / f"{i}.png")
            (root / folder / f"{i}.png").rename(root / folder / f"{i}{ending}")
    return root


def rows(data: Images) -> dict[str, int]:
    return {split: len(data.split(split)) for split in data.splits}


def test_links_are_followed(tmp_path: Path) -> None:
    some(tmp_path / "elsewhere", "dogs", "many")
    some(tmp_path / "root", "cat")
    (tmp_path / "root" / "dog").symlink_to(tmp_path / "elsewhere" / "dogs")
    (tmp_path / "root" / "cat" / "more").symlink_to("../../elsewhere/many")
    (tmp_path / "root" / "cat" / "linked.png").symlink_to(tmp_path / "elsewhere" / "many" / "0.png")
    data = Images(tmp_path / "root", 4, 1)
    assert data.classes == ["cat", "dog"] and sum(rows(data).values()) == 31
    (tmp_path / "root" / "cat" / "loop").symlink_to(tmp_path / "root")
    with pytest.raises(UserError, match="loop is a link to a folder that it lies in"):
        Images(tmp_path / "root").split("train")


@pytest.mark.parametrize(
    "train, valid, test",
    [
        ("train", "val", "test"),
        ("Train", "VALID", "TEST"),
        ("training", "validation", "testing"),
        ("train", "dev", "Test"),
    ],
)
def test_splits_of_other_names(tmp_path: Path, train: str, valid: str, test: str) -> None:
    some(tmp_path, f"{train}/a", f"{train}/b", f"{valid}/a", f"{test}/b")
    data = Images(tmp_path, 4, 1)
    assert data.classes == ["a", "b"] and rows(data) == {"train": 20, "valid": 10, "test": 10}


@pytest.mark.parametrize("ending", [".JPG", ".Png", ".WEBP", ".bmp", ".TIF", ".tiff", ".jpeg", ".jfif", ".gif", ""])
def test_endings_of_every_kind(tmp_path: Path, ending: str) -> None:
    assert sum(rows(Images(some(tmp_path, "a", "b", ending=ending), 4, 1)).values()) == 20


def test_numeric_classes_count_as_numbers(tmp_path: Path) -> None:
    some(tmp_path / "numbers", *map(str, range(12)), n=3)
    assert Images(tmp_path / "numbers").classes == [str(i) for i in range(12)]
    some(tmp_path / "words", "10", "2", "cat", n=3)
    assert Images(tmp_path / "words").classes == ["10", "2", "cat"]


def test_accents_are_the_same_in_every_unicode_form(tmp_path: Path) -> None:
    some(tmp_path / "one", NFC, "tea")
    some(tmp_path / "two", NFD, "tea")
    one, two = Images(tmp_path / "one", 4, 1), Images(tmp_path / "two", 4, 1)
    assert one.classes == two.classes == [NFC, "tea"]
    for split in ("train", "valid", "test"):
        assert one.identity(split) == two.identity(split) and len(two.split(split)) > 0
    some(tmp_path / "three", f"train/{NFC}", "train/tea", f"val/{NFD}", "test/tea")
    assert Images(tmp_path / "three", 4, 1).classes == [NFC, "tea"]


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("train/a", "Train/a"), "train/ and Train/|Train/ and train/"),
    (("train/a", "val/a", "valid/a"), "both 'valid'"),
    (("train", "bus", "car"), "bus/, car/ beside train/"),
    (("cat", "dog", "test"), "cat/, dog/ beside test/"),
    (("val/a", "test/a"), "no train/"),
    (("cat/train", "cat/test", "dog/train"), "split within a class: move it to test/cat"),
    (("dataset/cat", "dataset/dog"), "set data.root to the folder .*dataset"),
    (("Cat", "cat"), "'Cat' and 'cat'.*differ only by case"),
    (("train/Cat", "val/cat"), "'Cat' and 'cat'"),
    ((NFC, NFD), "how accents are written"),
    (("train/a", "train/b", "test/c"), "'test' has the classes c, which 'train' lacks"),
]


@pytest.mark.parametrize("folders, why", REFUSED, ids=[" ".join(folders) for folders, _ in REFUSED])
def test_folders_that_can_be_read_in_two_ways_are_refused(tmp_path: Path, folders: tuple[str, ...], why: str) -> None:
    some(tmp_path, *folders)
    with pytest.raises(UserError, match=why) as caught:
        data = Images(tmp_path, 4, 1)
        data.split("train")
        data.split("valid")
    assert "\n" not in str(caught.value)


def test_pictures_beside_splits_or_classes_are_refused(tmp_path: Path) -> None:
    some(tmp_path, "train/a", "train/b")
    some(tmp_path, "train", n=1)
    with pytest.raises(UserError, match="0.png lies beside class folders in .*train"):
        Images(tmp_path).split("train")
    (tmp_path / "train" / "0.png").rename(tmp_path / "0.png")
    with pytest.raises(UserError, match="0.png lies beside train/"):
        Images(tmp_path).split("train")


def test_files_that_are_left_out_are_reported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some(tmp_path, "a", "b")
    for name in (
        "a/.hidden.png",
        "a/notes.txt",
        "b/list.txt",
        "more.zip",
        "a/pixels.npy",
        "b/.DS_Store",
        "b/Thumbs.db",
    ):
        (tmp_path / name).write_bytes(b"-")
    (tmp_path / "a" / "unnamed").write_bytes(b"text")
    (tmp_path / "a" / "gone.png").symlink_to("nowhere")
    (tmp_path / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "a" / "._0.png").write_bytes(b"-")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    data = Images(tmp_path, 4, 1)
    assert sum(rows(data).values()) == 20 and data.classes == ["a", "b"]
    assert capsys.readouterr().err == (
        "frame: Images: pictures of 4 x 4 pixels, grey; left out 1 .npy files, "
        "2 .txt files, 1 archives (unpack them), 1 files without an ending, "
        "1 hidden files, 1 links to nothing, 1 pipes or devices, "
        "2 folders without pictures (empty, empty/inner); class folders: 2 classes (a, b); 2 as 'valid' and 2 as "
        "'test' held out of 20 rows, the same share of every class, by their names\n"
        "frame: Images: decoded once and kept in memory (320 B)\n"
    )


def test_an_error_without_pictures_lists_the_files(tmp_path: Path) -> None:
    (tmp_path / "pictures.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="no pictures .*1 archives .unpack them"):
        Images(tmp_path).split("train")
    with pytest.raises(UserError, match="is a file: unpack"):
        Images(tmp_path / "pictures.zip").split("train")


def test_a_single_class_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Images(some(tmp_path, "cat"), 4, 1).classes == ["cat"]
    assert "all pictures are of one class, 'cat'" in capsys.readouterr().err


def test_every_class_is_in_every_split(tmp_path: Path) -> None:
    data = Images(some(tmp_path, *(f"c{i:02}" for i in range(10)), n=20), 4, 1)
    for split, n in (("train", 16), ("valid", 2), ("test", 2)):
        source = data.split(split)
        assert torch.bincount(source.batch(torch.arange(len(source)))["y"]).tolist() == [n] * 10
    some(tmp_path / "few", "large", n=40)
    few = Images(some(tmp_path / "few", "x", n=2), 4, 1)
    assert set(few.split("test").batch(torch.arange(len(few.split("test"))))["y"].tolist()) == {0, 1}


# Pictures


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: Any) -> None:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
COLOUR = np.stack([GREY, 255 - GREY, np.full_like(GREY, 90)], 2)


def only(root: Path, channels: int = 3, size: int = 8) -> torch.Tensor:
    data = Images(root, size, channels, n_valid=0, n_test=0)
    return data.split("train").batch(torch.arange(1))["x"][0]


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK", "RGBA", "YCbCr"])
def test_all_modes_of_the_same_picture(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    image.save(tmp_path / ("x.tif" if mode in ("CMYK", "YCbCr") else "x.png"))
    difference = (only(tmp_path).permute(1, 2, 0).float() - torch.from_numpy(COLOUR).float()).abs().mean()
    assert difference < (30 if mode == "P" else 3), mode  # a palette of few colours


def test_black_and_white_and_grey_with_alpha(tmp_path: Path) -> None:
    Image.fromarray(GREY > 90).save(tmp_path / "x.png")
    assert torch.equal(only(tmp_path, 1)[0], torch.from_numpy((GREY > 90).astype(np.uint8) * 255))
    alpha = np.where(GREY > 90, 255, 0).astype(np.uint8)
    Image.fromarray(np.stack([GREY, alpha], 2)).save(tmp_path / "x.png")
    expected = torch.from_numpy(np.where(alpha > 0, GREY, 255))  # transparent ones are white
    assert torch.equal(only(tmp_path, 1)[0], expected)


def test_a_transparent_palette_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "x.png", transparency=0)
    x = only(tmp_path)
    assert x[:, 5, 5].tolist() == [255, 255, 255] and x[:, 0, 0].tolist() == [0, 0, 255]


def wrong_pictures(root: Path) -> dict[str, str]:
    save(root / "deep.tif", GREY.astype(np.int32) * 70000)
    save(root / "float.tif", GREY.astype(np.float32) / 255)
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(root / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(root / "pages.tif", save_all=True, append_images=frames[1:])
    (root / "nothing.png").write_bytes(b"")
    (root / "page.jpg").write_bytes(b"<!DOCTYPE html><html>404</html>")
    (root / "lfs.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    (root / "noise.png").write_bytes(bytes(range(7, 200)))
    noise = np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8)
    for name in ("cut.png", "cut.jpg", "cut.gif", "cut.bmp", "cut.webp", "cut.tif"):
        save(root / name, noise)
        (root / name).write_bytes((root / name).read_bytes()[:600])
    return {
        "deep.tif": "32-bit whole numbers",
        "float.tif": "floating-point numbers",
        "moving.gif": "2 frames",
        "pages.tif": "2 frames or pages",
        "nothing.png": "no bytes",
        "page.jpg": "web page",
        "lfs.png": "git lfs pull",
        "noise.png": "not a known kind of picture",
        **dict.fromkeys(("cut.png", "cut.jpg", "cut.gif", "cut.bmp", "cut.webp", "cut.tif"), "cut short|broken"),
    }


def test_a_picture_that_is_refused_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, why in wrong_pictures(tmp_path).items():
        alone = tmp_path / "alone"
        alone.mkdir()
        (tmp_path / name).rename(alone / name)
        with pytest.raises(UserError, match=why) as caught:
            only(alone)
        assert "\n" not in str(caught.value) and "1 of 1 pictures" in str(caught.value) and name in str(caught.value)
        (alone / name).unlink()
        alone.rmdir()
    save(tmp_path / "bomb.png", np.zeros((100, 100), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="too many pixels"):
        only(tmp_path)
