"""Tab completion: the words that can stand there, and a real shell that asks for them."""

import subprocess
import sys
from pathlib import Path

import pytest

from frame.commands.completion import completions
from tests.analysis.by_hand import record, run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    measured = [record("ELBO/Test", 1.0), record("knn/Test", 2.0), record("knn/Test/floor/pca", 2.0)]
    run(tmp_path / "runs" / "byhand" / "first", {"beta": 1.0}, 1, [*measured, record("x$(touch${IFS}here)", 1.0)])
    run(tmp_path / "runs" / "byhand" / "second", {"beta": 2.0}, 1, [])
    (tmp_path / "runs" / "byhand" / "notes").mkdir()
    (tmp_path / "rubbish").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("frame ev", ["evaluate"]),
        ("frame nothing ", []),
        ("frame evaluate evaluation=elb", ["evaluation=elbo"]),
        ("frame evaluate runs evaluation=[elbo,mi", ["evaluation=[elbo,mig"]),
        ("frame evaluate runs/byhand evaluation=elbo,kn", ["evaluation=elbo,knn"]),
        ("frame evaluate runs checkpoint=", ["checkpoint=best", "checkpoint=last"]),
        ("frame evaluate runs again=", ["again=false", "again=true"]),
        ("frame evaluate runs che", ["checkpoint="]),
        ("frame evaluate runs unknown=", []),
        ("frame compare runs metrics=", ["metrics=ELBO/Test", "metrics=knn/Test"]),
        ("frame compare runs metrics=ELBO/Test,k", ["metrics=ELBO/Test,knn/Test"]),
        ("frame compare metrics=k", ["metrics=knn/Test"]),
        ("frame compare runs/byhand/second metrics=k", []),
        ("frame compare elsewhere metrics=k", []),
        ("frame report runs rows=params.", ["rows=params.beta"]),
        ("frame list runs sort=-EL", ["sort=-ELBO/Test"]),
        ("frame show r", ["runs/"]),
        ("frame show ", ["runs/"]),
        ("frame show runs/", ["runs/byhand/"]),
        ("frame show runs/byhand/", ["runs/byhand/first", "runs/byhand/second"]),
        ("frame train resume=runs/byhand/f", ["resume=runs/byhand/first"]),
        ("frame new mo", ["model"]),
        ("frame train params.", None),
    ],
)
def test_the_words_that_can_stand_there(folder: Path, line: str, found: list[str] | None) -> None:
    assert completions(line) == found


def test_a_name_that_a_shell_would_run_is_not_offered(folder: Path) -> None:
    assert completions("frame compare runs metrics=x") == []


@pytest.mark.slow
def test_bash_completes_by_the_tab_key(folder: Path) -> None:
    asked = [["frame", "evaluate", "evaluation=modul"], ["frame", "show", "runs/byhand/s"], ["frame", "train", "mode"]]
    lines = ['eval "$(frame -sc install=bash)"']
    for words in asked:
        line = " ".join(words)
        lines += [
            f"COMP_LINE='{line}' COMP_POINT={len(line)} COMP_CWORD={len(words) - 1} COMP_WORDS=({line})",
            "hydra_bash_completion; echo ${COMPREPLY[@]}",
        ]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)],
        env={"PATH": path, "PYTHONPATH": root, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["evaluation=modularity", "runs/byhand/second", "model="], done.stderr
    assert not (folder / "here").exists()
