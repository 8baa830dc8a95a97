"""A long run keeps a bounded number of pictures, evenly spread, and the same after a kill."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.settings import check_parts
from frame.loggers.files import FilesLogger
from frame.loggers.kept import KEEP, Shown, stride
from tests.processes import only_run, train

DOT = np.zeros((1, 1, 3), dtype=np.uint8)


def iterations(folder: Path, pattern: str = "images/a_b/*.png") -> list[int]:
    return sorted(int(file.stem) for file in folder.glob(pattern))


def expected(n: int, keep: int) -> list[int]:
    """Another implementation: as long as there are too many, every second one is removed."""
    step = 1
    while len({*range(0, n, step), n - 1}) > keep:
        step *= 2
    return sorted({*range(0, n, step), n - 1})


@pytest.mark.parametrize("keep", [2, 3, 5, 8, 100])
def test_the_first_the_last_and_some_evenly_in_between(keep: int, tmp_path: Path) -> None:
    logger = FilesLogger(tmp_path, keep=keep)
    for n in range(1, 260):
        logger.log_image("a/b", DOT, (n - 1) * 10)
        if n < 40 or n % 37 == 0:
            assert iterations(tmp_path) == [10 * k for k in expected(n, keep)]
    found = iterations(tmp_path)
    assert found[0] == 0 and found[-1] == 2580 and len(found) <= keep
    assert len({b - a for a, b in pairwise(found[:-1])}) <= 1


def test_a_week_is_bounded() -> None:
    shown = Shown()
    taken = [n for n in range(60_480) if shown.takes("a", KEEP)]
    kept = len(range(0, 60_480, stride(60_480, KEEP)))
    assert KEEP / 2 - 1 <= kept <= KEEP and len(taken) < 700
    assert taken[0] == 0 and 60_480 - taken[-1] < 60_480 / 45


def test_tables_and_figures_are_bounded_too_and_null_keeps_all(tmp_path: Path) -> None:
    logger, every = FilesLogger(tmp_path, keep=4), FilesLogger(tmp_path / "all", keep=None)
    for n in range(20):
        for one in (logger, every):
            one.log_table("t", ["n"], [[n]], n)
        if n < 10:
            logger.log_figure("f", Figure(figsize=(0.2, 0.2), dpi=10), n)
    assert iterations(tmp_path, "tables/t/*.csv") == expected(20, 4)
    for suffix in ("png", "pdf"):
        assert iterations(tmp_path, f"images/f/*.{suffix}") == expected(10, 4)
    assert iterations(tmp_path / "all", "tables/t/*.csv") == list(range(20))


@pytest.mark.parametrize("killed_at", [0, 3, 7, 8, 9, 16, 31])
@pytest.mark.parametrize("back", [0, 1, 5, 20])
def test_killed_and_resumed_it_ends_with_the_same_pictures(killed_at: int, back: int, tmp_path: Path) -> None:
    first = FilesLogger(tmp_path, keep=5)
    for n in range(killed_at + 1):
        first.log_image("a/b", DOT, n)
    checkpoint = max(-1, killed_at - back)
    FilesLogger(tmp_path, checkpoint="best").log_image("a/b", DOT, 1000)  # evaluated meanwhile
    again = FilesLogger(tmp_path, keep=5)
    again.cut(checkpoint)
    assert max(n for n in [*iterations(tmp_path), -1] if n < 1000) <= checkpoint
    for n in range(checkpoint + 1, 40):
        again.log_image("a/b", DOT, n)
    assert iterations(tmp_path) == [*expected(40, 5), 1000]


@pytest.mark.parametrize("keep", ["1", "0", "-3", "2.5", "many", "true"])
def test_a_rule_that_keeps_nothing_is_refused(keep: str) -> None:
    with pytest.raises(UserError, match=r"pictures\.keep"):
        check_parts(compose(["+experiment=digits_VAE", f"pictures.keep={keep}"]))


@pytest.mark.slow
def test_a_run_ends_with_the_same_pictures_whether_it_was_killed_or_not(tmp_path: Path) -> None:
    picture = (
        "+callbacks.samples={_target_: frame.callbacks.EvaluationCallback, name: Samples, evaluate_every: 1 iteration,"
        " evaluator: {_target_: frame.evaluation.samples.ImageSampleEvaluation}}"
    )
    words = ["experiment=tiny", "logging=csv", "doctor=null", "pictures.keep=6", "train_for=30 iterations", picture]
    found = []
    for name, signal in (("whole", {}), ("killed", {"BREAK": "SIGKILL 23"})):
        cwd = tmp_path / name
        cwd.mkdir()
        code, output = train(words, cwd, **signal)
        if signal:
            assert code == -9, output
            code, output = train([f"resume={only_run(cwd)}"], cwd)
        assert code == 0, output
        found.append(iterations(only_run(cwd), "images/Samples/*.png"))
    assert found[0] == found[1] == expected(31, 6)
