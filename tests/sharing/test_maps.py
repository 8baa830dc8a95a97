"""A map's files hold each row's code, label and picture, as its viewer reads them."""

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import frame
from frame.commands.main import main
from frame.common.errors import UserError
from frame.data.base import DataSet, Source, whole_batch
from frame.data.memory import InMemory
from frame.probability.distributions import Delta
from frame.sharing import maps
from frame.sharing.maps import _sheet, here, write_map


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_installed", lambda package: package == "embedding_atlas")


def test_the_atlas_reads_coordinates_labels_and_pictures(tiny_run: Path, tmp_path: Path, atlas: None) -> None:
    folder, command = write_map(frame.open(tiny_run), tmp_path / "map", n_samples=50)
    assert command[:2] == ["embedding-atlas", str(folder / "codes.parquet")] and "records" in command
    assert here(command)[:3] == [sys.executable, "-m", "embedding_atlas.cli"]
    table = pd.read_parquet(folder / "codes.parquet")
    assert len(table) == 50 and set(table["split"]) == {"test"} and table["index"].is_monotonic_increasing
    run = frame.open(tiny_run)
    batch = whole_batch(run.data("test"), torch.tensor(table["index"].to_numpy()))
    assert table["label"].tolist() == [str(y) for y in batch["y"].tolist()]
    picture = np.asarray(Image.open(io.BytesIO(table["picture"][7]["bytes"])))
    assert picture.shape == (32, 32, 3)  # four times as large
    assert np.array_equal(picture[::4, ::4, 0], (batch["x"][7, 0] * 255).round().numpy())
    # the first two principal components: uncorrelated, the first with the larger variance
    x, y = table["x"], table["y"]
    assert abs(np.corrcoef(x, y)[0, 1]) < 1e-3 and x.var() >= y.var()
    records = pd.read_parquet(folder / "records.parquet")
    assert records["name"].tolist() == run.results["name"].tolist()


def test_the_projector_reads_codes_labels_and_a_sheet(tiny_run: Path, tmp_path: Path, capfd: Any) -> None:
    words = ["map", str(tiny_run), "viewer=tensorboard", "n_samples=30", "on=[valid,test]", f"out={tmp_path}/new/map"]
    assert main(words) == 0
    assert f"tensorboard --logdir {tmp_path}/new/map" in capfd.readouterr().out
    (vectors,) = tmp_path.glob("new/map/*/codes_mean/tensors.tsv")
    codes, run = np.loadtxt(vectors, delimiter="\t"), frame.open(tiny_run)
    labels = pd.read_csv(vectors.with_name("metadata.tsv"), sep="\t")
    assert codes.shape[0] == 60 == len(labels) and [*labels.columns] == ["label", "split", "index"]
    test = labels["split"] == "test"
    batch = whole_batch(run.data("test"), torch.tensor(labels["index"][test].to_numpy()))
    with torch.no_grad():
        expected = run.model.encode(batch["x"]).mean.numpy()  # type: ignore[operator]
    assert np.allclose(codes[test], expected, atol=1e-5) and labels["label"][test].tolist() == batch["y"].tolist()
    with Image.open(vectors.with_name("sprite.png")) as sprite:
        assert sprite.size == (64, 64)  # 8 x 8 pictures of 8 x 8
    assert "sprite.png" in (tmp_path / "new" / "map" / "projector_config.pbtxt").read_text()


class Rows(DataSet):
    """Series, which are no pictures, without labels."""

    splits = ("train",)

    def load(self, split: str) -> Source:
        return InMemory(torch.linspace(0, 1, 60).view(5, 3, 4))


class Coding(nn.Module):
    def encode(self, x: Tensor) -> Delta:
        return Delta(x.flatten(1))


def series() -> Any:
    data = Rows()
    results = pd.DataFrame()
    folder = SimpleNamespace(path=Path("runs/a/b"))
    config = {"experiment_name": "a"}
    return SimpleNamespace(
        folder=folder, model=Coding(), data_set=data, data=data.split, results=results, config=config
    )


@pytest.mark.parametrize("viewer", ["atlas", "tensorboard"])
def test_rows_without_labels_and_pictures_are_shown(viewer: str, tmp_path: Path, atlas: None) -> None:
    folder, command = write_map(series(), tmp_path / "map", viewer=viewer)
    if viewer == "atlas":
        assert {"x", "y", "split", "index"} == set(pd.read_parquet(folder / "codes.parquet").columns)
        assert "records" not in command
    else:
        assert len(np.loadtxt(next(folder.glob("*/*/tensors.tsv")), delimiter="\t")) == 5
        assert not [*folder.rglob("sprite.png")]


def test_pictures_are_square_and_fit_on_a_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = _sheet(torch.full((3, 3, 8, 4), 255, dtype=torch.uint8))
    assert sheet is not None and sheet.shape == (3, 3, 8, 8)
    assert sheet[0, 0, :, 2:6].eq(1).all() and sheet[0, 0, :, :2].eq(0).all()
    monkeypatch.setattr(maps, "SPRITE", 64)
    many = _sheet(torch.zeros(81, 3, 32, 32, dtype=torch.uint8))
    assert many is not None and many.shape[-1] == 64 // 9


def test_what_cannot_be_shown_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_installed", lambda package: False)
    with pytest.raises(UserError, match="pip install embedding-atlas, or take viewer=tensorboard"):
        write_map(series(), tmp_path / "map", viewer="atlas")
    with pytest.raises(UserError, match="no split 'test'"):
        write_map(series(), tmp_path / "map", on=["test"])
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="nothing is overwritten"):
        write_map(series(), tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_viewer_is_started_on_request(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start(words: list[str]) -> Any:
        started.append(words)
        return SimpleNamespace(returncode=7)

    monkeypatch.setattr(subprocess, "run", start)
    words = ["map", str(tiny_run), "viewer=tensorboard", "n_samples=20", "open=true", f"out={tmp_path}/map"]
    assert main(words) == 7
    assert started == [[sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path / "map")]]


def test_codes_that_are_not_finite_are_one_line(tmp_path: Path, atlas: None) -> None:
    run = series()
    run.model.encode = lambda x: Delta(x.flatten(1) / 0)
    with pytest.raises(UserError, match="not finite|NaN"):
        write_map(run, tmp_path / "map")
