"""`frame try`: what it tells of a folder, and its methods."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from frame.analysis import first_look
from frame.analysis.first_look import NO_RANKING, _side_by_side, contents, drawn, methods
from frame.commands.main import main
from frame.common.errors import UserError
from frame.sweeps.sweep_file import load


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures each of two classes, one of them twice."""
    noise = np.random.RandomState(0)
    for i in range(24):
        folder = tmp_path / "my pictures" / ("cats" if i % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((noise.rand(10 + i % 2, 12, 3) * 255).astype("uint8")).save(folder / f"{i}.png")
    shutil.copy(tmp_path / "my pictures" / "cats" / "1.png", tmp_path / "my pictures" / "dogs" / "copy.png")
    (tmp_path / "my pictures" / "notes.txt").write_text("")
    return tmp_path / "my pictures"


def test_what_is_in_a_folder(pictures: Path) -> None:
    found = contents(pictures)
    assert found.lines() == [
        f"25 pictures in {pictures}, 12 x 10 to 12 x 11 pixels, in colour",
        "2 classes: cats 12, dogs 13",
        "1 are copies of others, byte for byte: dogs/copy.png = cats/1.png",
        "left out: 1 .txt files",
    ]
    assert found.side == 8


@pytest.mark.parametrize(("shorter", "side"), [(6, 8), (12, 8), (13, 16), (25, 16), (28, 32), (300, 32)])
def test_pictures_are_enlarged_by_a_quarter_at_most(shorter: int, side: int, tmp_path: Path) -> None:
    assert first_look.Contents(tmp_path, [], [], {}, sizes=Counter({(400, shorter): 3})).side == side


def test_splits_and_grey_pictures_are_seen(pictures: Path) -> None:
    for split in ("train", "test"):
        for folder in ("cats", "dogs"):
            (pictures.parent / "s" / split / folder).mkdir(parents=True)
    for i, file in enumerate(sorted(pictures.rglob("*.png"))):
        place = pictures.parent / "s" / ("test" if i % 3 == 0 else "train") / file.parent.name
        Image.open(file).convert("L").resize((40, 33)).save(place / file.name)
    found = contents(pictures.parent / "s")
    assert found.splits == {"train": "train", "test": "test"} and found.classes == ["cats", "dogs"]
    assert found.grey and found.side == 32 and "data.data.channels=1" in methods(found.root, found)["SimCLR"]


def test_of_very_many_some_are_drawn(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "MOST", 10)
    place = drawn(contents(pictures), tmp_path / "drawn")
    links = sorted(place.rglob("*.png"))
    assert len(links) == 10 and {link.parent.name for link in links} == {"cats", "dogs"}
    assert all(link.resolve().is_file() for link in links)


def test_what_is_no_folder_of_pictures_is_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (pictures / "cats" / "broken.png").write_bytes(b"\x89PNG")
    for place, said in (
        (tmp_path / "nowhere", "there is no folder"),
        (tmp_path / "empty", "has 0 pictures: at least 20"),
        (pictures, "1 pictures in .* cannot be read: cats/broken.png"),
    ):
        with pytest.raises(UserError, match=said) as error:
            contents(place)
        assert "\n" not in str(error.value)
    assert main(["try", str(tmp_path / "nowhere")]) == 2 and main(["try", str(pictures), "minutes=0"]) == 2


@pytest.mark.slow
def test_units_that_differ_stand_beside_their_numbers() -> None:
    records = pd.DataFrame(
        [
            {"name": "rankme", "model": "VAE", "value": 3.0, "unit": "of 16"},
            {"name": "rankme", "model": "SimCLR", "value": 13.0, "unit": "of 64"},
            {"name": "accuracy", "model": "VAE", "value": 70.0, "unit": "%"},
            {"name": "accuracy", "model": "SimCLR", "value": 75.0, "unit": "%"},
        ]
    )
    _, ranks, accuracies = _side_by_side(records, ["VAE", "SimCLR"]).splitlines()
    assert ranks.split() == ["rankme", "3", "of", "16", "13", "of", "64"]
    assert accuracies.split() == ["accuracy", "70", "75", "%"]


def test_a_first_look(pictures: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["try", str(pictures), "minutes=0.01"]) == 0
    printed = capsys.readouterr().out
    place = tmp_path / "runs" / "try_my pictures"
    assert NO_RANKING in printed and "VAE" in printed and "SimCLR" in printed and "floor/pixels" in printed
    assert "<html" in (place / "first_look.html").read_text()
    study = load(place / "study.yml")
    assert set(study.variants) == {"VAE", "SimCLR"}
    assert f"data.root='{pictures}'" in study.variants["VAE"]
