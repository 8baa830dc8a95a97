"""Training and sweeps choose nothing on test unless the user allows it. `compare` has its own test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

from frame.common import selection
from frame.common.errors import UserError
from frame.data.base import DataSet
from frame.evaluation.base import Evaluation, LogEntry, Scalar
from frame.runs.folder import RunFolder
from tests.processes import OWN, Process, only_run, train
from tests.slow import slow_but

CALLBACK = "_target_: frame.callbacks.EvaluationCallback, name: Final, evaluate_every: 1 iterations"
ELBO = "_target_: frame.evaluation.elbo.ELBOEvaluation, n_samples: 20"
WRITTEN = f"++callbacks.final={{{CALLBACK}, evaluator: {{{ELBO}, evaluate_on: test}}}}"
# a class whose default split is test
BY_DEFAULT = f"++callbacks.final={{{CALLBACK}, evaluator: {{_target_: tests.common.test_selection.Final}}}}"
FAKE = Path(__file__).parents[1] / "analysis/fake.py"
TINY = ["experiment=tiny", "train_for=4 iterations", "logging=csv"]


class Final(Evaluation):
    """No config says which split it uses."""

    def __init__(self) -> None:
        super().__init__("test")

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        return LogEntry("test", {"": Scalar(1.0)})


@pytest.mark.parametrize(
    ("record", "is_test"),
    [
        ({"name": "Final", "split": "test"}, True),
        ({"name": "ELBO/Test", "split": "valid"}, False),
        ({"name": "ELBO/Validation", "split": "test"}, True),
        ({"name": "ELBO/Test"}, True),
        ({"name": "ELBO/Test/rate", "split": None}, True),
        ({"name": "ELBO/Testing"}, False),
    ],
)
def test_the_split_decides_and_the_name_only_where_there_is_none(record: dict[str, Any], is_test: bool) -> None:
    assert selection.on_test(record) is is_test


def test_the_error_says_what_to_write() -> None:
    with pytest.raises(UserError, match=r"select=A: it is measured on test.*or write allow_test=true"):
        selection.check("select", "A", [{"split": "valid"}, {"split": "test"}], allowed=False)
    assert selection.check("select", "A", [{"split": "valid"}], allowed=False) == ""
    assert selection.check("select", "A", [{"split": "test"}], allowed=True).startswith("chosen on test")


def crossed(choosers: Sequence[Any]) -> list[Any]:
    """Each chooser with each way to measure. Each of both occurs among the fast cases."""
    pairs = [(chooser, measure) for chooser in choosers for measure in (WRITTEN, BY_DEFAULT)]
    return slow_but([pairs[0], *pairs[3::4], *pairs[4::4]], pairs)


CHOOSERS = [
    "checkpoint.best=Final",
    "++callbacks.stop={_target_: frame.callbacks.EarlyStopping, monitor: Final}",
    "++callbacks.slower={_target_: frame.callbacks.ReduceOnPlateau, monitor: Final}",
]


@pytest.mark.parametrize(("chooser", "measure"), crossed(CHOOSERS))
def test_training_chooses_on_test_only_with_the_word(tmp_path: Path, measure: str, chooser: str) -> None:
    code, output = train([*TINY, measure, chooser], tmp_path)
    assert code == 2 and output.count("\n") == 1 and not (tmp_path / "runs").exists()
    assert "measured on test" in output and "allow_test=true" in output
    code, output = train([*TINY, measure, chooser, "allow_test=true"], tmp_path)
    assert code == 0 and "chosen on test" in output
    assert RunFolder(only_run(tmp_path)).config.allow_test is True


def test_a_name_that_says_test_on_valid_may_choose(tmp_path: Path) -> None:
    named = WRITTEN.replace("name: Final", "name: A/Test").replace("evaluate_on: test", "evaluate_on: valid")
    code, output = train([*TINY, named, "checkpoint.best=A/Test"], tmp_path)
    assert code == 0, output


def sweep(cwd: Path, words: Sequence[str], **more: Any) -> tuple[int, str]:
    plain = {
        "program": str(FAKE),
        "command": ["${env}", "${interpreter}", "${program}", *TINY, *words[:1], "${args_no_hyphens}"],
        "metric": {"name": "Final", "goal": "maximize"},
        "parameters": {"params.beta": {"values": [0.5]}},
        **more,
    }
    (cwd / "s.yml").write_text(yaml.safe_dump(plain))
    environment = {"FAKE_STARTS": str(cwd / "starts"), "FAKE_RECORD": '{"name": "Final", "split": "test"}'}
    command = ["sweep", "s.yml", "folder=study", "--config-dir", str(OWN / "config"), *words[1:]]
    process = Process(command, cwd, **environment)
    return process.wait(), process.output


SEARCHES: list[dict[str, Any]] = [
    {"method": "grid"},
    {"method": "bayes", "run_cap": 1},
    {"method": "random", "run_cap": 1, "early_terminate": {"type": "hyperband", "min_iter": 1}},
]


@pytest.mark.parametrize(("search", "measure"), crossed(SEARCHES))
def test_a_sweep_searches_on_test_only_with_the_word(tmp_path: Path, search: dict[str, Any], measure: str) -> None:
    code, output = sweep(tmp_path, words=[measure], **search)
    assert code == 2 and output.count("\n") == 1 and not (tmp_path / "study").exists()
    assert "metric=Final: it is measured on test" in output


def test_a_sweep_with_the_word_says_so_and_hands_it_to_its_runs(tmp_path: Path) -> None:
    code, output = sweep(tmp_path, [WRITTEN, "allow_test=true"], method="grid")
    assert code == 0 and "chosen on test: metric=Final" in output and ", chosen on test: beta=0.5" in output
    (started,) = (tmp_path / "starts").read_text().splitlines()
    assert "allow_test=true" in started.split()


@pytest.mark.parametrize("allowed", [False, True])
def test_nothing_is_fitted_on_test_without_the_word(tmp_path: Path, allowed: bool) -> None:
    """Labelled rows come from test: the evaluation was fitted there, whichever split it reports."""
    fitted = "_target_: frame.evaluation.few_labels.FewLabelsEvaluation, evaluate_on: valid, train_on: test, n_draws: 2"
    few = f"++callbacks.final={{{CALLBACK}, evaluator: {{{fitted}}}}}"
    code, output = train([*TINY, few, *(["allow_test=true"] if allowed else [])], tmp_path)
    assert code == (0 if allowed else 2), output
    assert ("fitted on test: Final" if allowed else "Final: it is fitted on test") in output
    assert allowed or output.count("\n") == 1 and not (tmp_path / "runs").exists()
