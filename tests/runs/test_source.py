"""The user's own modules, found without running them, and kept in the run."""

import hashlib
from pathlib import Path

import pytest

from frame.runs import source
from frame.runs.source import kept, own_modules


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fig").mkdir()
    (tmp_path / "fig" / "__init__.py").write_text("")
    (tmp_path / "fig" / "a.py").write_text("import numpy\nfrom . import b\nraise SystemExit\n")
    (tmp_path / "fig" / "b.py").write_text("def f():\n    import fig_c, fig_secret_keys\n")
    (tmp_path / "fig_c.py").write_text("try:\n    import fig_broken\nexcept SyntaxError:\n    pass\n")
    (tmp_path / "fig_broken.py").write_text("def\n")
    (tmp_path / "fig_secret_keys.py").write_text("A = 1\n")
    (tmp_path / "fig_unused.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


CONFIG = {"model": {"_target_": "fig.a.Model", "inner": {"_target_": "torch.nn.Linear"}}, "x": {"_target_": "gone.X"}}
FOUND = {"fig", "fig.a", "fig.b", "fig_c", "fig_broken", "fig_secret_keys"}


def test_modules_are_kept_with_what_they_import(mine: Path, tmp_path: Path) -> None:
    assert set(own_modules(CONFIG, strict=False)) == FOUND
    run = tmp_path / "run"
    run.mkdir()
    told = kept(run, CONFIG)
    assert set(told) == FOUND
    secret = told.pop("fig_secret_keys")
    assert secret["left_out"] == "may hold secrets" and "file" not in secret
    for one in told.values():
        assert (run / one["file"]).read_bytes() == Path(one["path"]).read_bytes()
        assert one["sha256"] == hashlib.sha256(Path(one["path"]).read_bytes()).hexdigest()
    assert len(list((run / "source").rglob("*.py"))) == 5


def test_large_files_are_left_out(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FILE_BYTES", 30)
    monkeypatch.setattr(source, "ALL_BYTES", 40)
    told = kept(tmp_path, CONFIG)
    assert told["fig.a"]["left_out"] == "0.0 MB" and told["fig"]["file"] == "source/fig/__init__.py"
    assert sum((tmp_path / one["file"]).stat().st_size for one in told.values() if "file" in one) <= 40
