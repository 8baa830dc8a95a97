"""Data sets of Hugging Face from folders, Parquet files and the hub, with classes, columns and splits by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frame.common.errors import UserError
from frame.data.huggingface import HuggingFace

datasets = pytest.importorskip("datasets")
from PIL import Image as Pictures  # noqa: E402

NAMES = ["cat", "dog"]


def pictures(n: int, **more: Any) -> Any:
    random = np.random.RandomState(0)
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    features |= {key: datasets.Value("string") for key in more}
    images = [Pictures.fromarray(random.randint(0, 256, (10, 8, 3), dtype=np.uint8)) for _ in range(n)]
    rows = {"image": images, "label": [i % 2 for i in range(n)], **more}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    both = datasets.DatasetDict({"train": pictures(20), "validation": pictures(6)})
    both.save_to_disk(root / "saved")
    pictures(20, patient=[f"p{i // 2}" for i in range(20)]).to_parquet(root / "one.parquet")
    (root / "many").mkdir()
    for name, n in (("train-00000-of-00002", 8), ("train-00001-of-00002", 6), ("test-00000-of-00001", 4)):
        pictures(n).to_parquet(root / "many" / f"{name}.parquet")
    return root


def test_a_saved_folder_gives_pictures_classes_and_splits(folder: Path, capsys: Any) -> None:
    data = HuggingFace("saved", data_root=folder)
    assert {split: len(data.split(split)) for split in data.splits} == {"train": 18, "valid": 6, "test": 2}
    assert data.classes == NAMES and data.n_classes == 2 and data.shape == (3, 10, 8) and data.row == "picture"
    batch = data.split("valid").batch(torch.arange(6))
    assert batch["x"].dtype == torch.uint8 and batch["y"].tolist() == [0, 1] * 3 and data.keys == ("x", "y")
    said = capsys.readouterr().err
    assert "image as x, label as y; 2 as 'test' held out of 20 rows, the same share of every class, seed 0" in said
    assert data.identity("valid")["labels"] and data.identity("train") != data.identity("test")


def test_pictures_are_resized_and_made_grey(folder: Path) -> None:
    assert HuggingFace(folder / "saved", size=4, channels=1).shape == (1, 4, 4)


def test_parquet_files_keep_their_classes_and_groups_stay_whole(folder: Path) -> None:
    data = HuggingFace(folder / "one.parquet", group="patient", n_valid=0.2, n_test=0.2)
    assert data.classes == NAMES
    rows = {split: {int(row) // 2 for row in data._found[split].rows} for split in data.splits}
    assert not rows["train"] & rows["test"] and not rows["train"] & rows["valid"]
    many = HuggingFace(folder / "many", n_valid=0)
    assert {split: len(many.split(split)) for split in many.splits} == {"train": 14, "test": 4}


def test_columns_and_splits_by_other_names(folder: Path) -> None:
    table = datasets.DatasetDict(
        {"first": datasets.Dataset.from_dict({"f": [[0.5, 1.0]] * 12, "age": [0.5] * 12, "z": [1] * 12})}
    )
    table.save_to_disk(folder / "table")
    data = HuggingFace(folder / "table", columns={"f": "x", "age": "y"})
    batch = data.split("train").batch(torch.arange(3))
    assert set(batch) == {"x", "y", "index"} and batch["x"].dtype == batch["y"].dtype == torch.float32
    assert data.n_classes is None and data.shape == (2,)
    dev = HuggingFace(folder / "saved", splits={"test": "validation"})
    assert {split: len(dev.split(split)) for split in dev.splits} == {"train": 18, "valid": 2, "test": 6}


def test_a_name_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*arguments: Any) -> Any:
        asked.append(arguments)
        return datasets.load_from_disk(str(folder / "saved"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert HuggingFace("someone/pets", name="small").classes == NAMES and asked == [("someone/pets", "small")]


def refused(error: Exception) -> Callable[..., Any]:
    def load(*arguments: Any) -> Any:
        raise error

    return load


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"path": "someone/pets"}, "could not be fetched from the hub: no network; fetch it where there is"),
        ({"path": "./nowhere"}, "there is no ./nowhere in "),
        ({"path": "saved", "columns": {"img": "x"}}, "no column 'img': did you mean 'image'"),
        ({"path": "saved", "columns": {"label": "y"}}, "no column is 'x'; the columns are image, label"),
        ({"path": "saved", "splits": {"train": "trian"}}, "no split 'trian': did you mean 'train'"),
        ({"path": "saved", "group": "patient"}, "no column 'patient'"),
        ({"path": "empty"}, "has no Parquet file and was not written by save_to_disk; it has: none"),
        ({"path": "broken.parquet"}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    folder: Path, keys: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", refused(ConnectionError("no network\nand more")))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=says) as caught:
        HuggingFace(**keys, data_root=folder).split("train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("off", "says"), [(True, "the hub is switched off"), (False, "no network")])
def test_a_name_on_the_hub_that_cannot_be_fetched(off: bool, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", refused(ConnectionError("no network")))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", off)
    with pytest.raises(UserError, match=f"could not be fetched from the hub: {says}"):
        HuggingFace("somebody/something").split("train")


def test_unknown_splits_and_channels_are_refused() -> None:
    for wrong, says in (({"splits": {"tset": "a"}}, "did you mean 'test'"), ({"channels": 2}, "channels=2 must be")):
        with pytest.raises(UserError, match=says):
            HuggingFace("a", **wrong)


def columns_of(root: Path, name: str, y: list[Any], kind: Any = None) -> HuggingFace:
    x = np.random.RandomState(0).rand(len(y), 3).tolist()
    of_x = datasets.Sequence(datasets.Value("float32"))
    features = None if kind is None else datasets.Features({"x": of_x, "y": kind})
    datasets.Dataset.from_dict({"x": x, "y": y}, features=features).to_parquet(root / f"{name}.parquet")
    return HuggingFace(root / f"{name}.parquet")


def test_numbers_words_and_several_labels(tmp_path: Path) -> None:
    numbers = columns_of(tmp_path, "numbers", [i + 0.5 for i in range(20)])
    y = numbers.split("train").batch(torch.arange(16))["y"]
    assert y.dtype == torch.float32 and y.mean().abs() < 1e-6 and numbers.n_classes is None
    assert numbers.targets is not None and numbers.targets.scale is not None and numbers.targets.scale > 1
    assert numbers.identity("test")["targets"]
    several = columns_of(tmp_path, "several", [[i + 0.5, -i] for i in range(20)])
    assert several.split("train").batch(torch.arange(4))["y"].shape == (4, 2)
    words = columns_of(tmp_path, "words", ["ant" if i % 2 else "bee" for i in range(20)])
    assert words.classes == ["ant", "bee"]
    assert sorted(words.split("valid").batch(torch.arange(2))["y"].tolist()) == [0, 1]
    named = datasets.Sequence(datasets.ClassLabel(names=["a", "b", "c"]))
    labels = columns_of(tmp_path, "labels", [[0, 2] if i % 2 else [] for i in range(20)], named)
    y = labels.split("train").batch(torch.arange(16))["y"]
    assert y.dtype == torch.bool and {tuple(row) for row in y.tolist()} == {(True, False, True), (False,) * 3}
    assert labels.targets is not None and labels.targets.names == ("a", "b", "c") and labels.n_classes is None
    for wrong, says in (([None, *["a"] * 19], "no value in row 0"), ([[1.5], [2.5, 1.0]] * 10, "several lengths")):
        with pytest.raises(UserError, match=says):
            columns_of(tmp_path, "wrong", wrong).split("train")


def test_copies_in_another_split_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = datasets.DatasetDict({"train": pictures(20), "test": pictures(20).select(range(6))})
    both.save_to_disk(tmp_path / "saved")
    data = HuggingFace(tmp_path / "saved", n_valid=0)
    assert len(data.split("train")) == 20 and len(data.split("test")) == 6
    assert "6 of 6 rows of 'test' that were compared are equal to one of 'train'" in capsys.readouterr().err
