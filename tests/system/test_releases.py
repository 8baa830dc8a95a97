"""A run of this format still opens, and its weights still give the number that was recorded.

`python -m tests.make_release` trains it again, after the files of a run have changed.
"""

import shutil
from pathlib import Path

import pytest

import frame
from frame.common.errors import UserError
from frame.engine.opening import build_evaluation
from frame.evaluation.base import evaluating
from frame.runs.folder import FORMAT

FORMATS = Path(__file__).parents[1] / "formats"
RELEASES = sorted((Path(__file__).parents[1] / "releases").iterdir())


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_a_released_run_opens(folder: Path, checkpoint: str) -> None:
    run = frame.open(folder, checkpoint=checkpoint)
    assert run.status["state"] == "finished" and run.status["format"] == FORMAT
    state = run.folder.checkpoint(checkpoint)
    assert state is not None
    recorded = run.results.query("name == 'ELBO/Validation' and iteration == @state['counters']['iterations']")
    evaluation = build_evaluation(run.config.callbacks.elbo_valid.evaluator)
    with evaluating(run.model):
        entry = evaluation.evaluate(run.model, run.data_set)
    assert entry.scalars[""].value == pytest.approx(recorded["value"].iloc[-1], rel=1e-4)
    assert "ELBO/Validation" in run.metrics.columns


def test_a_run_of_another_format_is_one_line_with_its_version(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^.*/1 was written by frame 0\.1\.0 \(format 1\): open it with that version$"):
        frame.open(FORMATS / "1")
    for written in ("99", "3", "null", "2.5", "0", "-1"):
        folder = tmp_path / "later"
        shutil.copytree(RELEASES[0], folder, dirs_exist_ok=True)
        (folder / "status.json").write_text(f'{{"state": "finished", "format": {written}}}')
        with pytest.raises(UserError, match=r"has format .*reads format 2.*code\.json names$"):
            frame.open(folder)
