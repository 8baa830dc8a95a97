import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from frame.loggers.base import pixels
from frame.loggers.files import FilesLogger
from tests.processes import files_no_larger_than


def test_metrics_are_read_with_one_read_csv(tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path)
    logger.log_metrics({"seconds": 0.5, "epochs": 0.1, "loss": 3.0}, step=10)
    logger.log_metrics({"seconds": 0.75, "epochs": 0.2, "loss": 1e-30}, step=20)
    logger.log_metrics({"seconds": 0.8, "epochs": 0.2, "ELBO/Validation": -100.5, "a, quoted": 1}, step=20)
    logger.log_metrics({"loss": float("nan"), "ELBO/Validation": float("-inf")}, step=30)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert list(table.columns) == ["iteration", "seconds", "epochs", "loss", "ELBO/Validation", "a, quoted"]
    assert table["iteration"].tolist() == [10, 20, 30]
    assert table["seconds"].tolist()[:2] == [0.5, 0.75]  # the first time of an iteration is kept
    assert table["loss"].tolist()[:2] == pytest.approx([3.0, 1e-30], rel=1e-14)  # before 3.1 pandas rounds otherwise
    assert table["ELBO/Validation"].tolist()[1:] == [-100.5, float("-inf")]
    assert np.isnan(table["loss"][2]) and np.isnan(table["seconds"][2])
    assert all(dtype.kind == "f" for dtype in table.dtypes[1:])


def test_a_name_with_two_values_has_two_rows_and_a_repetition_none(tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path)
    for loss in (1.0, 1.0, 2.0):
        logger.log_metrics({"loss": loss}, step=5)
    assert pd.read_csv(tmp_path / "metrics.csv")["loss"].tolist() == [1.0, 2.0]


def test_every_row_is_on_disk_before_the_next_call(tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path)
    for step in range(5):
        logger.log_metrics({"loss": step / 7}, step=step)
        logger.log_metrics({"accuracy": step / 3}, step=step)
        table = pd.read_csv(tmp_path / "metrics.csv")
        assert table["loss"].tolist() == pytest.approx([k / 7 for k in range(step + 1)], rel=1e-14)
        assert table["accuracy"].tolist() == pytest.approx([k / 3 for k in range(step + 1)], rel=1e-14)


def test_reopened_it_continues_in_the_same_columns(tmp_path: Path) -> None:
    FilesLogger(tmp_path).log_metrics({"seconds": 1.0, "loss": 1.0}, step=1)
    again = FilesLogger(tmp_path)
    again.log_metrics({"accuracy": 0.5}, step=1)
    again.log_metrics({"loss": 0.5}, step=2)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert list(table.columns) == ["iteration", "seconds", "epochs", "loss", "accuracy"]
    assert table["iteration"].tolist() == [1, 2] and table["loss"].tolist() == [1.0, 0.5]
    assert table["accuracy"][0] == 0.5


def test_a_row_that_was_half_written_by_a_killed_run_is_dropped(tmp_path: Path) -> None:
    FilesLogger(tmp_path).log_metrics({"loss": 1.0}, step=1)
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("2,,,0.12")
    FilesLogger(tmp_path).log_metrics({"loss": 0.25}, step=3)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["iteration"].tolist() == [1, 3] and table["loss"].tolist() == [1.0, 0.25]


def test_cut_removes_later_rows(tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path)
    picture = np.zeros((2, 3, 3), dtype=np.uint8)
    for step in (10, 20, 30):
        logger.log_metrics({"loss": float(step)}, step=step)
        logger.log_image("a/b", picture, step)
        logger.log_table("counts", ["n"], [[step]], step)
    (tmp_path / "images" / "a_b" / ".00000030.png.half").touch()
    fresh = FilesLogger(tmp_path)
    fresh.cut(20)
    assert pd.read_csv(tmp_path / "metrics.csv")["iteration"].tolist() == [10, 20]
    assert sorted(p.name for p in tmp_path.glob("images/*/*")) == ["00000010.png", "00000020.png"]
    assert sorted(p.name for p in tmp_path.glob("tables/*/*")) == ["00000010.csv", "00000020.csv"]
    fresh.log_metrics({"accuracy": 1.0}, step=20)  # joins the row that became the last one
    fresh.log_metrics({"loss": 25.0}, step=25)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["loss"].tolist() == [10.0, 20.0, 25.0] and table["accuracy"][1] == 1.0


def test_cut_to_nothing_leaves_a_table_without_rows(tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.cut(0)
    assert pd.read_csv(tmp_path / "metrics.csv").empty
    FilesLogger(tmp_path / "new").cut(7)  # a run that was killed before it logged anything


def test_pictures_and_tables_are_read_back(tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    logger.log_image("ImageReconstruction/Validation", picture, 42)
    logger.log_image("../outside", picture, 1)
    logger.log_table("con/fusion", ["digit", "share, %"], [[3, 0.5], [8, None]], 42)
    read = np.asarray(Image.open(tmp_path / "images" / "ImageReconstruction_Validation" / "00000042.png"))
    assert np.array_equal(read, picture)
    assert not (tmp_path.parent / "outside").exists() and (tmp_path / "images" / "_outside" / "00000001.png").exists()
    table = pd.read_csv(tmp_path / "tables" / "con_fusion" / "00000042.csv")
    assert table["digit"].tolist() == [3, 8] and table["share, %"][0] == 0.5


def test_a_figure_becomes_a_picture_and_a_pdf(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.patch.set_facecolor("red")
    FilesLogger(tmp_path).log_figure("traversal", figure, 3)
    read = np.asarray(Image.open(tmp_path / "images" / "traversal" / "00000003.png"))
    assert read.shape == (50, 100, 3) and (read == [255, 0, 0]).all()
    assert (tmp_path / "images" / "traversal" / "00000003.pdf").read_bytes().startswith(b"%PDF")


def test_a_layout_is_settled_once_and_all_files_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Mock(side_effect=ConstrainedLayoutEngine.execute)
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *given: settle(*given))
    figure = Figure(figsize=(2, 1), dpi=50, layout="constrained")
    axes = figure.add_subplot(ylabel="a label that takes place")
    before = axes.get_position()
    FilesLogger(tmp_path).log_figure("figure", figure, 10)
    after = axes.get_position()
    assert after.x0 != before.x0
    assert np.array_equal(pixels(figure), np.asarray(Image.open(tmp_path / "images" / "figure" / "00000010.png")))
    assert settle.call_count == 1 and np.array_equal(axes.get_position(), after)


def test_a_full_disk_is_reported_once_and_no_row_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = FilesLogger(tmp_path)
    logger.log_metrics({"loss": 0.1}, step=0)
    with files_no_larger_than((tmp_path / "metrics.csv").stat().st_size + 12):
        for step in range(1, 6):
            logger.log_metrics({"loss": 1 / (step + 2), "seconds": step / 3}, step=step)
        logger.log_metrics({"a new column": 1.0}, step=6)
        logger.log_image("picture", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8), 6)
    assert pd.read_csv(tmp_path / "metrics.csv")["iteration"].tolist() == [0]  # nothing half-written either
    assert not list(tmp_path.glob("images/*/*"))
    logger.log_metrics({"loss": 0.5}, step=7)
    assert pd.read_csv(tmp_path / "metrics.csv")["iteration"].tolist() == list(range(8))
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(tmp_path) in error


def test_a_merge_that_fails_does_not_change_the_row(tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path)
    logger.log_metrics({"loss": 0.1, "accuracy": 0.5}, step=1)
    logger.log_metrics({"loss": 0.2}, step=2)
    before = (tmp_path / "metrics.csv").read_bytes()
    with files_no_larger_than(len(before) + 4):
        logger.log_metrics({"accuracy": 1 / 3}, step=2)
        assert (tmp_path / "metrics.csv").read_bytes() == before
    logger.save()
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["accuracy"].tolist() == [0.5, 1 / 3] and table["loss"].tolist() == [0.1, 0.2]


def test_an_unwritable_folder_does_not_stop_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    logger = FilesLogger(tmp_path / "file" / "below")
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.log_table("t", ["n"], [[1]], 1)
    logger.cut(0)
    logger.finalize("success")
    assert capsys.readouterr().err.count("\n") == 1


def test_the_cost_of_a_row_does_not_grow_with_the_run(tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path)

    def fastest(start: int) -> float:
        seconds = []
        for step in range(start, start + 300):
            began = time.perf_counter()
            logger.log_metrics({"seconds": step / 3, "loss": 1 / (step + 1)}, step=step)
            seconds.append(time.perf_counter() - began)
        return float(np.median(seconds))

    early = fastest(0)
    for step in range(300, 6000):
        logger.log_metrics({"seconds": step / 3, "loss": 1 / (step + 1)}, step=step)
    assert fastest(6000) < 4 * early
