"""A run of every release still opens, and its weights still give the number that was recorded."""

from pathlib import Path

import pytest

import frame
from frame.evaluation.base import evaluating
from frame.opening import build_evaluation
from frame.runs import FORMAT

RELEASES = sorted((Path(__file__).parent / "releases").iterdir())


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_a_released_run_opens(folder: Path, checkpoint: str) -> None:
    run = frame.open(folder, checkpoint=checkpoint)
    assert run.status["state"] == "finished" and run.status["format"] <= FORMAT
    state = run.folder.checkpoint(checkpoint)
    assert state is not None
    recorded = run.results.query("name == 'ELBO/Validation' and iteration == @state['counters']['iterations']")
    evaluation = build_evaluation(run.config.callbacks.elbo_valid.evaluator)
    with evaluating(run.model):
        entry = evaluation.evaluate(run.model, run.data_set)
    assert entry.scalars[""].value == pytest.approx(recorded["value"].iloc[-1], rel=1e-4)
    assert "ELBO/Validation" in run.metrics.columns
