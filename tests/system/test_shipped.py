"""Shipped sweep files: each point composes, and the leaderboard's commands work at small size."""

from pathlib import Path

import pytest

from frame.composition.compose import compose
from frame.composition.settings import check_parts
from frame.sweeps.sweep_file import load
from studies import leaderboard
from tests.processes import Process

CLONE = Path(__file__).parents[2]
FILES = sorted(
    [*(CLONE / "sweeps").glob("*.y*ml"), *(CLONE / "studies").glob("*.yml"), *CLONE.glob("benchmarks/pairs/*")]
)


def compose_points(file: Path, *, every: bool) -> None:
    sweep = load(file)
    middle = {key: of.at(0.5) for key, of in sweep.parameters.items()}
    points = list(sweep.points()) if sweep.method == "grid" else [middle]
    for point in points if every else points[:: max(1, len(points) - 1)]:
        check_parts(compose(sweep.overrides(point)))


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}/{file.name}" for file in FILES])
def test_the_first_and_the_last_point_compose(file: Path) -> None:
    compose_points(file, every=False)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}/{file.name}" for file in FILES])
def test_each_point_composes(file: Path) -> None:
    compose_points(file, every=True)


def test_methods_and_controls_have_one_encoder() -> None:
    """An option that replaces another one drops its values, so that a control could have another network unnoticed."""
    sweep = load(CLONE / "studies" / "joint_embedding.yml")
    found = {}
    for name in sweep.variants:
        encoder = compose(sweep.overrides({"variant": name})).model.encoder
        found[name] = {key: encoder[key] for key in ("_target_", "channels", "layers", "pooled", "batch_norm")}
    assert len(found) == 11 and all(one == found["SimCLR"] for one in found.values()), found
    assert found["SimCLR"]["channels"] == [32, 128]


@pytest.mark.slow
def test_the_leaderboard_at_small_size(tmp_path: Path) -> None:
    def frame(*words: str) -> str:
        process = Process(list(words), tmp_path, PYTHONPATH=str(CLONE))
        assert process.wait(180) == 0, process.output
        return process.output

    frame(
        "sweep",
        str(CLONE / "studies/leaderboard.yml"),
        "seeds=2",
        "jobs=2",
        "run_cap=2",
        "folder=board",
        "train_for='1 epoch'",
    )
    page, pictures = tmp_path / "page.md", tmp_path / "pictures"
    pictures.mkdir()
    page.write_text(
        "before\n<!-- leaderboard: make leaderboard writes this -->\n<!-- end of the leaderboard -->\nafter\n"
    )
    for _ in range(2):  # the second time the first table is replaced
        leaderboard.main(str(tmp_path / "board"), str(page))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and text.count("| AE |") == 1
    assert "| *raw pixels* (floor) |" in text and "over 2 seeds" in text and "**One view**" in text
    assert (pictures / "leaderboard.png").read_bytes().startswith(b"\x89PNG")
