"""metrics.csv, which pandas reads, is made from metrics.jsonl, also with several writers and broken files."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from frame.loggers.files import FilesLogger
from frame.runs.journal import Journal
from frame.runs.metrics import FILE, TABLE, Table, columns, write_table


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / TABLE)


def logged(folder: Path, n_rows: int = 20) -> FilesLogger:
    logger = FilesLogger(folder)
    for step in range(n_rows):
        logger.log_metrics({"seconds": step / 3, "epochs": step / 7, "loss": 1 / (step + 1)}, step=step)
        if step % 5 == 0:
            logger.log_metrics({"seconds": step / 3 + 1, "ELBO/Validation": -step / 9}, step=step)
    return logger


def test_the_reader_finds_what_pandas_finds(tmp_path: Path) -> None:
    logged(tmp_path).log_metrics({"loss": math.nan, "rate": math.inf, "a, b\nc": -math.inf}, step=20)
    found = pd.DataFrame({name: np.asarray(column) for name, column in columns(tmp_path).items()})
    pd.testing.assert_frame_equal(found, table(tmp_path))
    assert list(found.columns) == ["iteration", "seconds", "epochs", "loss", "ELBO/Validation", "rate", "a, b\nc"]
    assert columns(tmp_path, ["iteration", "rate", "unknown"]).keys() == {"iteration", "rate"}
    write_table(tmp_path, tmp_path / "other.csv")
    assert (tmp_path / "other.csv").read_bytes() == (tmp_path / TABLE).read_bytes()


@pytest.mark.parametrize("harm", ["removed", "emptied", "torn", "garbage", "appended to", "another's"])
def test_a_table_that_is_missing_or_broken_is_made_again(harm: str, tmp_path: Path) -> None:
    logger, path = logged(tmp_path), tmp_path / TABLE
    whole = path.read_bytes()
    if harm == "removed":
        path.unlink()
    elif harm == "appended to":
        with path.open("a") as stream:
            stream.write("1,2,3\n")
    else:
        broken = {"emptied": b"", "torn": whole[:-9], "garbage": b"\0" * 99, "another's": b"a,b\n1,2\n"}[harm]
        path.write_bytes(broken)
    for again in (logger, FilesLogger(tmp_path)):
        again.save()
        assert path.read_bytes() == whole
    logger.log_metrics({"loss": 5.0}, step=20)
    assert path.read_bytes().startswith(whole) and table(tmp_path)["loss"].tolist()[-1] == 5.0


def test_a_later_evaluation_does_not_change_rows_of_a_resumed_training(tmp_path: Path) -> None:
    training = FilesLogger(tmp_path)
    training.log_metrics({"loss": 1.0}, step=10)
    training.log_metrics({"loss": 0.5}, step=20)
    beside = FilesLogger(tmp_path, checkpoint="last", table=False)
    for name in ("elbo/Test", "mig/Test"):
        beside.log_metrics({"seconds": 1.0, name: -3.0}, step=10)
    training.log_metrics({"ELBO/Validation": -2.0}, step=20)  # joins its row, though another was written in between
    training.log_metrics({"loss": 0.25}, step=30)
    found = table(tmp_path)
    assert found["iteration"].tolist() == [10, 20, 10, 30]
    assert found["ELBO/Validation"].tolist()[1] == -2.0 and found["mig/Test"].tolist()[2] == -3.0
    training.cut(10)  # measurements of a checkpoint stay
    assert table(tmp_path)["iteration"].tolist() == [10] and table(tmp_path)["elbo/Test"].tolist() == [-3.0]
    beside.log_metrics({"elbo/Test": -1.0}, step=20)
    training.cut(5)
    assert table(tmp_path)["iteration"].tolist() == [10, 20] and "loss" not in table(tmp_path)


def test_a_table_without_lines_as_in_an_export_becomes_lines_before_more_is_written(tmp_path: Path) -> None:
    logged(tmp_path)
    (tmp_path / FILE).unlink()
    before = table(tmp_path)
    assert columns(tmp_path)["loss"].tolist() == before["loss"].tolist()
    FilesLogger(tmp_path, checkpoint="last").log_metrics({"elbo/Test": 1.0}, step=19)
    assert table(tmp_path)[before.columns.tolist()].equals(before)
    assert table(tmp_path)["elbo/Test"].dropna().tolist() == [1.0]


def test_making_it_in_steps_equals_making_it_at_once(tmp_path: Path) -> None:
    random.seed(0)
    for trial in range(30):
        folder = tmp_path / str(trial)
        folder.mkdir()
        training, beside = FilesLogger(folder), FilesLogger(folder, checkpoint="last", table=False)
        for _ in range(40):
            logger = random.choice([training, training, beside])
            names = random.sample(["loss", "rate", "a/b", "c, d", "seconds", "epochs"], random.randrange(1, 4))
            values = {name: random.choice([0.1, 1.0, 1e300, math.nan, -math.inf]) for name in names}
            logger.log_metrics(values, step=random.randrange(6))
            if random.random() < 0.1:
                training.cut(random.randrange(6))
        training.save()
        found = (folder / TABLE).read_bytes()
        (folder / TABLE).unlink()
        Table(Journal(folder / FILE)).update(1.0)
        names_in_steps, names_at_once = found.splitlines()[0], (folder / TABLE).read_bytes().splitlines()[0]
        assert found == (folder / TABLE).read_bytes(), (names_in_steps, names_at_once)


def test_columns_of_every_run_are_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = FilesLogger(tmp_path)
    for step in (3, 4):
        logger.log_metrics({"iteration": 99.0, "loss": 1.0, "values": 2.0, "checkpoint": 3.0}, step=step)
    found = table(tmp_path)
    assert found["iteration"].tolist() == [3, 4] and found["values"].tolist() == [2.0, 2.0]
    assert found["checkpoint"].tolist() == [3.0, 3.0] and capsys.readouterr().err.count("\n") == 1
    for line in (tmp_path / FILE).read_text().splitlines():
        assert json.loads(line)["iteration"] in (3, 4)
