"""A measurement is written to records, metrics, pictures and tables."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from frame.common.errors import NoNumber
from frame.data.base import DataSet
from frame.data.digits import Digits
from frame.evaluation.base import Evaluation, LogEntry, Scalar
from frame.evaluation.measured import Measured, Moment, measure
from frame.loggers.files import FilesLogger
from frame.runs.folder import RunFolder
from frame.runs.metrics import rows
from frame.runs.reading import RECORD, is_record

COUNTERS = {"iterations": 7, "seconds": 1.5, "epochs": 0.5}
FIELDS = (
    "name value unit split n_samples estimator standard_error layer network width interval bound saturated better "
    "checkpoint iteration seconds took weights evaluation together"
).split()


def found(at: Moment) -> Measured:
    entry = LogEntry(
        "valid",
        {"": Scalar(1.0, "nats", 10, "by hand", 0.1, interval=(0.8, 1.2)), "rate": Scalar(2.0, better="less")},
        {"": np.zeros((4, 4, 3), dtype=np.uint8)},
        tables={"rows": (["a"], [[1]])},
    )
    return Measured("A", entry, at, 0.25)


def test_fields_and_their_order_are_the_same_in_training_and_later() -> None:
    in_training, later = Moment.of(COUNTERS, "average"), Moment.of(COUNTERS, "average", "last")
    assert [list(record) for record in found(in_training).records()] == [FIELDS, FIELDS]
    assert {*FIELDS, "source"} == set(RECORD)  # readers rely on them; newer source is named only if it was used
    own, others = found(in_training).records(), found(later).records("key-0")
    assert [is_record(dict(record)) for record in (*own, *others)] == [True] * 4
    differ = {key for a, b in zip(own, others, strict=True) for key in FIELDS if a[key] != b[key]}
    assert differ == {"checkpoint", "evaluation"}
    assert [record["checkpoint"] for record in (own[0], others[0])] == ["iteration 7", "last"]


def test_values_and_those_for_which_less_is_better() -> None:
    measured = found(Moment.of(COUNTERS, "raw"))
    assert measured.values == {"A": 1.0, "A/rate": 2.0} and measured.less == ("A/rate",)


def test_everything_goes_to_every_logger_once(tmp_path: Path) -> None:
    loggers = [FilesLogger(tmp_path / "a"), FilesLogger(tmp_path / "b", checkpoint="last")]
    found(Moment.of(COUNTERS, "raw")).log(loggers)
    for folder in ("a", "b"):
        assert [*rows(tmp_path / folder)] == [{"iteration": 7, "seconds": 1.5, "epochs": 0.5, "A": 1.0, "A/rate": 2.0}]
        files = {str(file.relative_to(tmp_path / folder)) for file in (tmp_path / folder).rglob("0*")}
        assert files == {"images/A/00000007.png", "tables/A_rows/00000007.csv"}


def test_an_incomplete_evaluation_does_not_count_and_is_replaced(tmp_path: Path) -> None:
    run, records = RunFolder(tmp_path), found(Moment.of(COUNTERS, "raw", "last")).records("key-0")
    run.record(found(Moment.of(COUNTERS, "raw")).records())  # in training, which is not repeated
    run.record_again(records[:1])
    assert run.recorded() == set()
    run.record_again(records)
    assert run.recorded() == {"key-0"} and len(run.records) == 4


class Draws(Evaluation):
    """Draws noise and switches the model's mode; finds `value`."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        torch.rand(3)
        model.train()
        return LogEntry("valid", {"": Scalar(self.value)})


def test_measuring_changes_nothing_and_nan_raises() -> None:
    model, state = nn.Dropout().eval(), torch.get_rng_state()
    assert measure(Draws(2.0), "A", model, Digits(), Moment.of(COUNTERS, "raw")).values == {"A": 2.0}
    with pytest.raises(NoNumber):
        measure(Draws(float("nan")), "A", model, Digits(), Moment.of(COUNTERS, "raw"))
    assert not model.training and torch.equal(torch.get_rng_state(), state)
