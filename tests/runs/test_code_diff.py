"""`git apply code.diff` in a fresh clone restores the work tree byte for byte, except for files that are named."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from frame.runs import code_diff
from frame.runs.code_diff import difference


def git(folder: Path, *words: str) -> str:
    names = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *names, *words], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode(errors="replace")


def commit(folder: Path) -> None:
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-qm", "x")


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a file of every kind."""
    folder = tmp_path_factory.mktemp("committed")
    git(folder, "init", "-q")
    files: dict[str, bytes] = {
        "code.py": b"def one():\n    return 1\n" + b"# a line\n" * 30,
        "blank.py": b"one = 1\n\n",
        "no_end": b"no newline at the end",
        "windows.txt": b"one\r\ntwo\r\n",
        "mixed.txt": b"one\r\ntwo\nthree\r",
        "latin.txt": b"caf\xe9 \xff\n",
        "bytes.bin": bytes(range(256)) * 10,
        "empty": b"",
        "gone.py": b"gone = True\n",
        "script.sh": b"echo\n",
        "folder": b"a file where a folder will be\n",
        "place/inner.py": b"inner = 1\n",
        "sub/folder/deep.py": b"deep = 1\n",
        "a b 'quoted' \"name\"": b"odd\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / os.fsdecode(b"b\xfftes \n name")).write_text("odd\n")
    (folder / "link").symlink_to("code.py")
    commit(folder)
    return folder


@pytest.fixture
def tree(committed: Path, tmp_path: Path) -> Path:
    """The repository, for one test to change."""
    return Path(shutil.copytree(committed, tmp_path / "tree", symlinks=True))


def put_back(tree: Path, found: code_diff.Difference, *options: str) -> dict[str, object]:
    """All files of a plain clone to which the patch was applied."""
    clone = tree.parent / "clone"
    git(tree.parent, "clone", "-q", str(tree), str(clone))
    git(clone, "checkout", "-q", str(found.commit))
    (tree.parent / "code.diff").write_bytes(found.patch)
    if found.patch:
        git(clone, *options, "apply", str(tree.parent / "code.diff"))
    return files_of(clone)


def files_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split("/")[0] == ".git" or path.is_dir() and not path.is_symlink():
            continue
        executable = os.access(path, os.X_OK)
        found[name] = os.readlink(path) if path.is_symlink() else (path.read_bytes(), executable)
    return found


def change_everything(tree: Path) -> None:
    (tree / "code.py").write_bytes(b"def two():\n\treturn 2\n" + b"# a line\n" * 30 + b"end = 1")
    (tree / "blank.py").write_bytes(b"one = 1\n\n\n \n\t\n")
    (tree / "no_end").write_bytes(b"another line\nno newline at the end")
    (tree / "windows.txt").write_bytes(b"one\r\nthree\r\n\r\n")
    (tree / "mixed.txt").write_bytes(b"one\ntwo\r\nthree\r\r\n")
    (tree / "latin.txt").write_bytes(b"caf\xe9 \xff\xfe\nna\xefve\x0c\x1b[31m\n")
    (tree / "bytes.bin").write_bytes(bytes(range(255, -1, -1)) * 10)
    (tree / "empty").write_bytes(b"\n")
    (tree / "gone.py").unlink()
    (tree / "script.sh").chmod(0o755)
    (tree / "folder").unlink()
    (tree / "folder").mkdir()
    (tree / "folder" / "new.py").write_text("new = 1\n")
    (tree / "new empty").write_bytes(b"")
    (tree / "place/inner.py").unlink()
    (tree / "place").rmdir()
    (tree / "place").symlink_to("sub")
    (tree / "sub/folder/deep.py").rename(tree / "sub/moved.py")
    (tree / "a b 'quoted' \"name\"").write_text("odder \n")
    (tree / os.fsdecode(b"b\xfftes \n name")).write_text("odder\n")
    (tree / "link").unlink()
    (tree / "link").symlink_to("nowhere\nat all")
    git(tree, "add", "-A")
    (tree / "code.py").write_bytes((tree / "code.py").read_bytes() + b"\n\nafter = 'it was staged'\n\n")


SETTINGS = [
    "diff.noprefix=true",
    "diff.mnemonicPrefix=true",
    "diff.srcPrefix=x/",
    "color.ui=always",
    "diff.external=/bin/false",
    "diff.renames=copies",
    "diff.context=0",
    "diff.interHunkContext=50",
    "diff.algorithm=histogram",
    "diff.suppressBlankEmpty=true",
    "diff.wsErrorHighlight=all",
    "diff.submodule=log",
    "diff.relative=true",
    "diff.orderFile=/dev/null",
    "diff.ignoreSubmodules=all",
    "diff.indentHeuristic=true",
    "diff.colorMoved=zebra",
    "core.quotePath=false",
    "core.autocrlf=true",
    "core.autocrlf=input",
    "core.eol=crlf",
    "core.safecrlf=true",
    "core.whitespace=tab-in-indent,cr-at-eol",
    "core.fsmonitor=/bin/false",
    "core.untrackedCache=true",
    "core.pager=/bin/false",
    "core.abbrev=4",
    "apply.whitespace=fix",
    "status.showUntrackedFiles=no",
    "index.version=4",
]


def each_slowly(cases: Sequence[Any], ids: Sequence[str]) -> list[Any]:
    """None of the cases, all at once, and each alone (slow)."""
    slow = [pytest.param([case], id=name, marks=pytest.mark.slow) for case, name in zip(cases, ids, strict=True)]
    return [pytest.param([], id="none"), pytest.param(cases, id="all at once"), *slow]


@pytest.mark.parametrize("settings", each_slowly(SETTINGS, SETTINGS))
def test_every_change_comes_back_under_the_settings_of_a_user(tree: Path, settings: list[str]) -> None:
    change_everything(tree)
    for setting in settings:
        key, _, value = setting.partition("=")
        git(tree, "config", key, value)
    before = {path: path.read_bytes() for path in (tree / ".git").rglob("*") if path.is_file()}
    found = difference(tree / "sub")
    assert (found.left_out, found.trouble, found.dirty) == ({}, "", True)
    assert before == {path: path.read_bytes() for path in (tree / ".git").rglob("*") if path.is_file()}
    assert put_back(tree, found) == files_of(tree)


@pytest.mark.parametrize("option", ["apply.whitespace=fix", "apply.whitespace=error", "diff.noprefix=true"])
def test_settings_of_the_user_who_applies_it_change_nothing(tree: Path, option: str) -> None:
    change_everything(tree)
    assert put_back(tree, difference(tree), "-c", option) == files_of(tree)


def test_text_stays_text(tree: Path) -> None:
    (tree / "code.py").write_text("def two():\n    return 2\n")
    assert b"+def two():" in difference(tree).patch and b"GIT binary" not in difference(tree).patch


VARIABLES = [
    {"GIT_DIR": "/nowhere"},
    {"GIT_INDEX_FILE": "/nowhere/index"},
    {"GIT_WORK_TREE": "/"},
    {"GIT_OBJECT_DIRECTORY": "/nowhere"},
    {"GIT_EXTERNAL_DIFF": "/bin/false"},
    {"GIT_DIFF_OPTS": "-u0"},
    {"GIT_PREFIX": "sub/"},
    {"GIT_LITERAL_PATHSPECS": "1"},
    {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.autocrlf", "GIT_CONFIG_VALUE_0": "true"},
    {"LANGUAGE": "de", "LC_ALL": "de_DE.UTF-8"},
]


@pytest.mark.parametrize("variables", each_slowly(VARIABLES, [next(iter(v)) for v in VARIABLES]))
def test_the_environment_of_a_hook_or_of_a_user(
    tree: Path, variables: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_everything(tree)
    with monkeypatch.context() as patch:
        for name, value in (item for each in variables for item in each.items()):
            patch.setenv(name, value)
        found = difference(tree)
    assert (found.left_out, found.trouble) == ({}, "")
    assert put_back(tree, found) == files_of(tree)


def attributes(text: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        (tree / ".gitattributes").write_text(text)
        commit(tree)
        change_everything(tree)

    return change


def flagged(flag: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        git(tree, "update-index", flag, "code.py")
        (tree / "code.py").write_text("git was told not to look here\n")

    return change


def in_conflict(tree: Path) -> None:
    git(tree, "branch", "other")
    (tree / "code.py").write_text("one side\n")
    commit(tree)
    git(tree, "checkout", "-q", "other")
    (tree / "code.py").write_text("another side\n")
    commit(tree)
    with pytest.raises(subprocess.CalledProcessError):
        git(tree, "merge", "-")


def intent_to_add(tree: Path) -> None:
    (tree / "later.py").write_text("later = 1\n")
    git(tree, "add", "-N", "later.py")


def shallow_and_detached(tree: Path) -> None:
    (tree / "code.py").write_text("two = 2\n")
    commit(tree)
    git(tree, "checkout", "-q", "--detach", "HEAD~1")
    (tree / "code.py").write_text("three = 3 \n\n")


def ignored_but_tracked(tree: Path) -> None:
    (tree / ".gitignore").write_text("*.py\n")
    git(tree, "add", ".gitignore")
    (tree / "code.py").write_text("three = 3\n")


@pytest.mark.parametrize(
    "change",
    [
        attributes("*.py diff=python\n*.bin diff=hex\n*.txt -diff\nno_end binary\n"),
        attributes("*.bin diff\n*.txt text=auto\n"),
        attributes("* -text\n"),
        flagged("--assume-unchanged"),
        flagged("--skip-worktree"),
        in_conflict,
        intent_to_add,
        shallow_and_detached,
        ignored_but_tracked,
    ],
)
def test_unusual_repositories(tree: Path, change: Callable[[Path], None]) -> None:
    change(tree)
    found = difference(tree)
    assert (found.left_out, found.trouble) == ({}, "")
    assert put_back(tree, found) == files_of(tree)


def test_line_endings_that_a_checkout_changes_are_named(tree: Path) -> None:
    (tree / ".gitattributes").write_text("*.txt text eol=crlf\n")
    commit(tree)
    (tree / "windows.txt").write_bytes(b"one\nfour\n")  # a checkout would write \r\n
    (tree / "code.py").write_text("four = 4\n")
    found = difference(tree)
    assert found.left_out == {"windows.txt": "git apply writes it in another form"}
    assert put_back(tree, found)["code.py"] == files_of(tree)["code.py"]


def test_a_file_that_no_patch_restores_is_named_even_if_it_is_the_only_one(tree: Path) -> None:
    (tree / ".gitattributes").write_text("*.py ident\n")
    (tree / "code.py").write_text("# $Id$\n")
    commit(tree)
    (tree / "code.py").write_text("# $Id: 0123 $\nmore\n")  # a checkout writes another number
    assert difference(tree).left_out == {"code.py": "git apply writes it in another form"}


def test_before_the_first_commit_the_patch_starts_from_nothing(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("one = 1 \n\n")
    git(tmp_path, "add", "code.py")
    found = difference(tmp_path)
    assert found.commit is None and found.dirty and not found.left_out
    (tmp_path / "elsewhere").mkdir()
    subprocess.run(
        ["git", "apply", "-"], cwd=tmp_path / "elsewhere", input=found.patch, check=True, capture_output=True
    )
    # `git apply` inside another repository ignores files above the folder, so this folder is in none
    assert (tmp_path / "code.py").read_bytes() in found.patch or b"GIT binary" in found.patch


def test_outside_of_a_repository_there_is_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert difference(tmp_path) == code_diff.Difference()
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert difference(tmp_path) == code_diff.Difference()


def test_a_clean_tree_has_no_difference(tree: Path) -> None:
    os.utime(tree / "code.py")  # git must read it again
    (tree / "beside.py").write_text("untracked\n")
    (tree / ".git" / "info" / "exclude").write_text("own.py\n")
    (tree / "own.py").write_text("ignored, but a source of the run\n")
    found = difference(tree, [tree / "own.py", tree / "code.py", Path(__file__)])
    assert (found.patch, found.dirty, found.left_out) == (b"", False, {})
    assert (found.untracked, found.ignored) == (["beside.py"], ["own.py"])


def test_secrets_large_files_filters_and_submodules_are_left_out_and_named(tree: Path) -> None:
    other = tree.parent / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "a.py").write_text("a = 1\n")
    commit(other)
    git(tree, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "module")
    for name in (".env", "deploy/key.pem", "large.npy", "config.yaml", "weights.pt"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("old-but-harmless\n")
    (tree / ".gitattributes").write_text("*.pt filter=pack\n")
    git(tree, "config", "filter.pack.clean", "tr a-z A-Z")
    commit(tree)
    for name in (".env", "deploy/key.pem", "weights.pt", "code.py"):
        (tree / name).write_text("hunter2\n")
    (tree / "config.yaml").write_text("wandb_api_key: 0123456789abcdef0123456789abcdef01234567\n")
    (tree / "large.npy").write_bytes(b"\0" * (code_diff.FILE_BYTES + 1))
    (tree / "module" / "a.py").write_text("a = 2\n")
    found = difference(tree)
    assert found.left_out == {
        ".env": "may hold secrets",
        "deploy/key.pem": "may hold secrets",
        "config.yaml": "holds what looks like a key",
        "large.npy": "4.0 MB, too much for a patch",
        "weights.pt": "git's filter 'pack' changes it",
        "module": "a submodule",
    }
    assert found.patch.count(b"hunter2") == 1 and b"0123456789abcdef" not in found.patch
    assert put_back(tree, found)["code.py"] == (b"hunter2\n", False)


def test_a_slow_git_is_reported(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_diff, "SECONDS", -1e9)
    real = subprocess.run

    def slow(*words: object, **options: object) -> object:
        raise subprocess.TimeoutExpired("git", 1)

    monkeypatch.setattr(subprocess, "run", slow)
    found = difference(tree)
    monkeypatch.setattr(subprocess, "run", real)
    assert "git took more than" in found.trouble and found.patch == b""
