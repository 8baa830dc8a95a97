"""Several `frame evaluate` on one run, also during training: nothing is recorded twice or lost."""

import errno
import json
import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch import nn

from frame.common.errors import UserError
from frame.data.base import DataSet
from frame.engine.reevaluate import evaluate_run
from frame.evaluation.base import Evaluation, LogEntry, Scalar
from frame.runs.journal import RECORDS, Journal
from frame.runs.notes import FILE, LOCK, Busy, Notes, evaluating_alone
from tests.processes import OWN, Process, only_run, train
from tests.runs.test_journal import files_no_larger_than

AGAIN = ["evaluate", "--config-dir", str(OWN / "config"), "packages=toys"]
ELBO = {"elbo": {"_target_": "frame.evaluation.elbo.ELBOEvaluation", "evaluate_on": "test", "n_samples": 30}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("trained")
    code, output = train(["experiment=tiny", "logging=csv", "doctor=null", "train_for=10 iterations"], cwd)
    assert code == 0, output
    return only_run(cwd)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def later(run: Path) -> list[dict[str, Any]]:
    """The records measured after training."""
    return [record for record in Journal(run / RECORDS).read() if record["checkpoint"] == "last"]


def once_each(run: Path) -> bool:
    return set(Counter(record["name"] for record in later(run)).values()) == {1}


def until(holds: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("words", [[], ["again=true"]], ids=["once", "again"])
def test_the_second_waits_and_nothing_is_measured_twice(words: list[str], run: Path) -> None:
    command = [*AGAIN, str(run), "evaluation=[slow,elbo]", "elbo.n_samples=40", "slow.seconds=3", *words]
    first = Process(command, run.parent)
    until(lambda: "checkpoint at iteration" in first.output)
    second = Process(command, run.parent)
    assert first.wait() == 0, first.output
    assert second.wait() == 0, second.output
    assert once_each(run), later(run)
    assert second.output.count("evaluated by another process: waiting for it") == 1
    assert "2 of 2 measured already" in second.output and "Traceback" not in second.output
    assert len(Notes(run).done()) == 2


def test_the_second_continues_where_the_first_was_killed(run: Path) -> None:
    command = [*AGAIN, str(run), "evaluation=[elbo,slow]", "elbo.n_samples=40"]
    first = Process([*command, "slow.seconds=60"], run.parent)
    until(lambda: len(later(run)) == 4)
    second = Process([*command, "slow.seconds=0.1"], run.parent)
    until(lambda: "waiting for it" in second.output)
    first.process.kill()
    assert second.wait() == 0, second.output
    assert "1 of 2 measured already" in second.output and once_each(run)
    assert {record["name"].split("/")[0] for record in later(run)} == {"elbo", "slow"}


def test_a_callback_and_evaluate_write_the_same_records(run: Path) -> None:
    """The run's own evaluation, at the last iteration and of the last checkpoint."""
    assert evaluate_run(run, packages=["toys"])[:2] == (1, {})
    records = Journal(run / RECORDS).read()
    own = [record for record in records if record["iteration"] == 10 and record["checkpoint"] == "iteration 10"]
    again = later(run)
    assert len(own) == 4 and [list(record) for record in own] == [list(record) for record in again]
    who_and_when = {"checkpoint", "seconds", "took", "evaluation"}
    for a, b in zip(own, again, strict=True):
        assert {k: v for k, v in a.items() if k not in who_and_when} == {
            k: v for k, v in b.items() if k not in who_and_when
        }
    last = pd.read_csv(run / "metrics.csv").set_index("iteration").loc[[10]]  # equal values share a row
    assert last["ELBO/Validation"].dropna().tolist() == pytest.approx([own[0]["value"]], rel=1e-14)


def test_a_signal_leaves_what_was_measured(run: Path) -> None:
    """SIGTERM in the second evaluation of the first of two runs."""
    other = Path(shutil.copytree(run, run.parent / "run_2"))
    command = [*AGAIN, str(run), str(other), "evaluation=[elbo,slow]", "elbo.n_samples=40"]
    first = Process([*command, "slow.seconds=60"], run.parent)
    until(lambda: len(later(run)) == 4)
    first.process.terminate()
    assert first.wait(30) == 128 + signal.SIGTERM, first.output
    assert "interrupted at run 1 of 2" in first.output and "Traceback" not in first.output
    assert len(later(run)) == 4 and not later(other)
    again = Process([*command, "slow.seconds=0.1"], run.parent)
    assert again.wait() == 0, again.output
    assert once_each(run) and once_each(other) and "1 of 2 measured already" in again.output


def test_fitting_on_test_is_refused_unless_it_is_allowed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"_target_": "tests.engine.test_reevaluate.FitsOnTest"}
    with pytest.raises(UserError, match=r"mine: it is fitted on test.*allow_test=true"):
        evaluate_run(run, chosen={"mine": node}, packages=["toys", "tests"])
    assert not later(run)
    assert evaluate_run(run, chosen={"mine": node}, packages=["toys", "tests"], allow_test=True)[:2] == (1, {})
    assert "fitted on test: mine" in capsys.readouterr().err


class FitsOnTest(Evaluation):
    """Declares that it fits something on test."""

    fits_on = ("test",)

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        return LogEntry("valid", {"": Scalar(1.0)})


def test_of_many_runs_those_that_another_evaluates_come_last(run: Path) -> None:
    other = Path(shutil.copytree(run, run.parent / "run_2"))
    held = (run / LOCK).open("w")
    import fcntl

    fcntl.flock(held, fcntl.LOCK_EX)
    process = Process([*AGAIN, str(run), str(other), "evaluation=elbo", "elbo.n_samples=40"], run.parent)
    until(lambda: "waiting for it" in process.output)
    assert len(later(other)) == 4 and not later(run)
    held.close()
    assert process.wait() == 0, process.output
    assert once_each(run) and "tried again at the end" in process.output


def test_waiting_has_an_end(run: Path) -> None:
    with evaluating_alone(run, 1.0, lambda: None) as trouble:
        assert trouble is None
        with pytest.raises(Busy, match="found nothing for"), evaluating_alone(run, 0.3, lambda: None):
            pass
        with pytest.raises(UserError):
            evaluate_run(run, chosen=ELBO, packages=["toys"], patience=0.3)


def test_records_of_a_killed_evaluation_count_only_if_they_are_complete(run: Path) -> None:
    for name in ("elbo", "elbo_2"):
        assert evaluate_run(run, chosen={name: ELBO["elbo"]}, packages=["toys"])[0] == (name == "elbo")
    whole = later(run)
    notes, records = Journal(run / FILE), Journal(run / RECORDS)
    notes.cut(lambda line: "name" not in line)  # killed before it noted that it was done
    assert evaluate_run(run, chosen=ELBO, packages=["toys"])[:2] == (0, {})
    assert later(run) == whole and len(Notes(run).done()) == 1
    notes.cut(lambda line: "name" not in line)
    records.cut(lambda line: line["name"] != whole[-1]["name"] or line["checkpoint"] != "last")  # killed within
    assert evaluate_run(run, chosen=ELBO, packages=["toys"])[:2] == (1, {})
    assert [record["name"] for record in later(run)] == [record["name"] for record in whole] and once_each(run)


def test_numbers_that_could_not_be_recorded_do_not_count_as_measured(run: Path) -> None:
    size = (run / RECORDS).stat().st_size
    with files_no_larger_than(size + 100):
        measured, refused, *_ = evaluate_run(run, chosen=ELBO, packages=["toys"])
    assert measured == 0 and "could not be recorded" in next(iter(refused.values()))
    assert not later(run) and (run / RECORDS).stat().st_size == size and not Notes(run).done()
    assert evaluate_run(run, chosen=ELBO, packages=["toys"])[:2] == (1, {}) and once_each(run)
    assert "elbo/Test" in pd.read_csv(run / "metrics.csv")


def test_a_folder_that_can_only_be_read_is_evaluated_without_recording(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(run)):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    assert evaluate_run(run, chosen=ELBO, packages=["toys"]).refused == {}
    output = capsys.readouterr().out
    assert "elbo/Test" in output and "what is found is not recorded" in output
    monkeypatch.undo()
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and "cache" not in str(file)} == before


def test_a_run_is_evaluated_while_it_trains(tmp_path: Path) -> None:
    words = ["experiment=tiny", "logging=csv", "checkpoint.every=1 iteration", "trainer.log_every_n_steps=1"]
    training = Process(["train", "--config-dir", str(OWN / "config"), *words, "train_for=100000 iterations"], tmp_path)
    until(lambda: list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt")))
    run = only_run(tmp_path)
    for n_samples in (20, 30):
        beside = [
            Process([*AGAIN, str(run), f"evaluation=[{name}]", f"{name}.n_samples={n_samples}"], tmp_path)
            for name in ("elbo", "reconstruction_error")
        ]
        for process in beside:
            assert process.wait() == 0, process.output
    assert training.process.pid is not None
    training.process.terminate()
    assert training.wait() == 143, training.output
    for line in (run / RECORDS).read_text().splitlines():
        json.loads(line)
    table = pd.read_csv(run / "metrics.csv")
    in_training = table[table["loss"].notna()]
    assert in_training["iteration"].tolist() == list(range(1, len(in_training) + 1))
    found = {(r["name"], r["n_samples"], r["iteration"]): r["value"] for r in later(run)}
    assert len(found) == len(later(run)) and {n for _, n, _ in found} == {20, 30}
    for (name, _, iteration), value in found.items():
        rows = table[(table["iteration"] == iteration) & table[name].notna()]
        assert any(other == pytest.approx(value, rel=1e-14) for other in rows[name])
    assert all(dtype.kind in "if" for dtype in table.dtypes)
