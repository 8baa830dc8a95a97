"""Several versions of a user's modules in one process."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from frame.common.errors import UserError
from frame.runs import modules
from frame.runs.modules import File, Source, importing


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    modules._loaded.clear()
    for name in [name for name in sys.modules if name.split(".")[0] in ("plum", "plums")]:
        del sys.modules[name]


def source(folder: Path, number: int, stays: bool = False) -> Source:
    texts = {
        "plum": f"from plums.deep import N\nHERE = {number}\ndef late():\n    from plums.deep import N\n    return N\n",
        "plums.deep": f"N = {number}\n",
    }
    places = {"plum": "plum.py", "plums.deep": "plums/deep.py"}
    files = {n: File(text.encode(), str(folder / places[n]), str(folder / places[n])) for n, text in texts.items()}
    return Source(files, folder, stays)


def plum(of: Source) -> object:
    with importing(of):
        return importlib.import_module("plum")


def test_each_source_has_its_own_modules(tmp_path: Path) -> None:
    one, two = source(tmp_path, 1), source(tmp_path, 2)
    first, second = plum(one), plum(two)
    assert (first.HERE, first.N, second.HERE, second.N) == (1, 1, 2, 2)  # type: ignore[attr-defined]
    assert "plum" not in sys.modules and "plums" not in sys.modules
    assert first.late() == 1 and second.late() == 2  # type: ignore[attr-defined]
    assert plum(one) is first  # the same classes each time
    assert not any(isinstance(finder, modules._Checked) for finder in sys.meta_path)


def test_what_the_user_imported_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plum.py").write_text("HERE = 'mine'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = importlib.import_module("plum")
    assert plum(source(tmp_path, 3)).HERE == 3  # type: ignore[attr-defined]
    assert sys.modules["plum"] is mine


def test_source_as_it_is_now_stays_and_takes_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = source(tmp_path, 4, stays=True)
    (tmp_path / "plums").mkdir()
    for file in now.files.values():
        Path(file.path).write_bytes(file.content)
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = importlib.import_module("plum")
    assert plum(now) is mine and importlib.import_module("plum") is mine


def test_modules_beside_are_found_only_within(tmp_path: Path) -> None:
    (tmp_path / "plums.py").write_text("N = 5\n")
    with importing(Source({}, tmp_path)):
        assert importlib.import_module("plums").N == 5
    del sys.modules["plums"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("plums")


@pytest.mark.parametrize("name", ["json", "numpy", "sys"])
def test_an_installed_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="an installed package has that name"):
        Source({name: File(b"", f"/x/{name}.py", f"/x/{name}.py")}).check_free()
