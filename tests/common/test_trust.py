"""Trusted folders: noted in the user's own configuration, and nowhere else."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frame.common import trust
from frame.common.errors import UserError


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "thesis").mkdir(parents=True)
    return tmp_path / "configuration" / "frame" / "trusted.json"


def test_what_is_typed_stays_and_what_is_trained_in_is_added(tmp_path: Path, configuration: Path) -> None:
    one, two = tmp_path / "home" / "thesis", tmp_path
    assert trust.read() == trust.Trusted() and not configuration.exists()
    trust.trained_in(None)
    key = trust.read().key
    assert len(key) == 64 and stat.S_IMODE(configuration.stat().st_mode) == 0o600
    trust.trust(one)
    trust.trained_in(one)
    link = tmp_path / "link"
    link.symlink_to(one)
    trust.trained_in(link)
    assert trust.read() == trust.Trusted(key, {str(one): trust.TYPED})
    trust.distrust(link)
    assert trust.read().folders == {}
    trust.trained_in(two)
    assert trust.read().folders == {}  # it holds the home folder
    with pytest.raises(UserError, match="is not trusted"):
        trust.distrust(one)


def test_folders_with_the_files_of_others_are_refused(tmp_path: Path) -> None:
    for folder in (Path("/"), tmp_path / "home", tmp_path):
        with pytest.raises(UserError, match="home folder"):
            trust.trust(folder)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(UserError, match="written by everybody"):
        trust.trust(shared)
    with pytest.raises(UserError, match="is not a folder"):
        trust.trust(tmp_path / "nowhere")
    trust.trained_in(shared)
    assert trust.read().folders == {}


def test_writers_wait_for_one_another(tmp_path: Path) -> None:
    folders = [tmp_path / "home" / str(number) for number in range(12)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(trust.trained_in, folders))
    assert set(trust.read().folders) == set(map(str, folders))


def test_a_seal_is_of_one_user_and_one_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trust.sealed({"a": 1}) == "" and not trust.is_sealed({"a": 1}, "")
    trust.trained_in(None)
    seal = trust.sealed({"a": 1, "b": [2]})
    assert trust.is_sealed({"b": [2], "a": 1}, seal)
    assert not trust.is_sealed({"a": 1, "b": [3]}, seal) and not trust.is_sealed({"a": 1, "b": [2]}, None)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    trust.trained_in(None)
    assert not trust.is_sealed({"a": 1, "b": [2]}, seal)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1, "folders": {}}', '{"key": "a", "folders": [1]}'])
def test_a_broken_file_is_one_line(text: str, configuration: Path) -> None:
    configuration.parent.mkdir(parents=True)
    configuration.write_text(text)
    with pytest.raises(UserError, match="is broken: remove it"):
        trust.read()
