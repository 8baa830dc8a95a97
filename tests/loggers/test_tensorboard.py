import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from frame.loggers.tensorboard import TensorBoardLogger

CONFIG = {"params": {"beta": 0.5, "layers": [32, 64], "sizes": {"z": 8}, "flag": True, "none": None}, "seed": 42}


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0})
    return events.Reload()


def scalars(events: EventAccumulator, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(name)]


def picture(events: EventAccumulator, name: str, index: int = 0) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(events.Images(name)[index].encoded_image_string)))


def text(events: EventAccumulator, name: str) -> str:
    return events.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0].decode()


def test_what_is_logged_is_read_back(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, CONFIG)
    logger.log_metrics({"loss": 2.5, "seconds": 1.0}, step=10)
    logger.log_metrics({"ELBO/Validation": -100.5, "loss": float("nan")}, step=20)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    logger.log_image("reconstruction", pixels, 20)
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.patch.set_facecolor("blue")
    logger.log_figure("traversal", figure, 20)
    logger.log_table("confusion", ["digit", "a|b"], [[3, 0.5], [8, None]], 20)
    logger.finalize("success")
    events = read(tmp_path)
    assert scalars(events, "ELBO/Validation") == [(20, -100.5)]
    assert [step for step, _ in scalars(events, "loss")] == [10, 20]
    assert set(events.Tags()["scalars"]) == {"loss", "seconds", "ELBO/Validation"}  # no placeholder among them
    assert np.array_equal(picture(events, "reconstruction"), pixels)
    drawn = picture(events, "traversal")
    assert drawn.shape == (50, 100, 3) and (drawn == [0, 0, 255]).all()
    assert text(events, "confusion").splitlines()[:3] == ["| digit | a\\|b |", "| --- | --- |", "| 3 | 0.5 |"]
    assert "beta: 0.5" in text(events, "config") and "seed: 42" in text(events, "config")


def test_the_hyper_parameters_are_named_as_on_the_command_line(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, CONFIG)
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.finalize("success")
    events = read(tmp_path)
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    found: dict[str, Any] = {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in metadata.parse_session_start_info_plugin_data(content).hparams.items()
    }
    assert found == {
        "params.beta": 0.5,
        "params.layers": "[32, 64]",
        "params.sizes.z": 8,
        "params.flag": True,
        "params.none": "None",
        "seed": 42,
    }
    # an experiment tag would fix the list of metrics, here as empty
    with pytest.raises(KeyError):
        events.SummaryMetadata(metadata.EXPERIMENT_TAG)


def test_cut_discards_what_a_killed_run_wrote_after_its_checkpoint(tmp_path: Path) -> None:
    killed = TensorBoardLogger(tmp_path, CONFIG)
    for step in (10, 20, 30):
        killed.log_metrics({"loss": float(step)}, step=step)
        killed.log_image("picture", np.full((2, 2, 3), step, np.uint8), step)
    killed.save()  # a killed run does not close its files
    resumed = TensorBoardLogger(tmp_path, CONFIG)
    resumed.cut(20)
    resumed.log_metrics({"loss": 25.0}, step=25)
    resumed.log_image("picture", np.full((2, 2, 3), 25, np.uint8), 25)
    resumed.finalize("success")
    events = read(tmp_path)
    assert scalars(events, "loss") == [(10, 10.0), (20, 20.0), (25, 25.0)]
    assert [event.step for event in events.Images("picture")] == [10, 20, 25]
    assert (picture(events, "picture", 2) == 25).all()


def test_cut_in_the_same_process(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, CONFIG)
    for step in (0, 1, 2):
        logger.log_metrics({"loss": float(step)}, step=step)
    logger.cut(0)
    logger.log_metrics({"loss": 10.0}, step=1)
    logger.finalize("success")
    assert scalars(read(tmp_path), "loss") == [(0, 0.0), (1, 10.0)]


def test_an_error_is_reported_once_and_not_raised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tensorboard").touch()  # a file where the folder should be
    logger = TensorBoardLogger(tmp_path, CONFIG)
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step=step)
    logger.log_image("picture", np.zeros((2, 2, 3), np.uint8), 3)
    logger.save()
    logger.finalize("failed")
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the run goes on" in error
