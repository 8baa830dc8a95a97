"""The difference of a git work tree from its commit, as a patch that is tried before it is kept.

The user's repository is only read. The patch is made and tried in a temporary repository of our own, which borrows the
user's objects and has no settings.
"""

import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frame.common.confidential import holds_a_key, is_secret

FILE_BYTES, ALL_BYTES, FILES = 4_000_000, 16_000_000, 5_000  # a larger difference is not kept as a patch
SECONDS = 30.0  # for everything together


@dataclass
class Difference:
    """`patch` applied to `commit` gives the tracked files, except those in `left_out`, each with its reason."""

    commit: str | None = None  # None before the first commit: the patch starts from nothing
    patch: bytes = b""
    left_out: dict[str, str] = field(default_factory=dict)
    untracked: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    trouble: str = ""  # why the difference is not known
    dirty: bool = False


@dataclass
class _Change:
    mode: str  # as git writes it; '' if the file is gone
    content: bytes = b""


_Blob = tuple[str, str]  # mode and object, as update-index takes them


class _Failed(Exception):
    """A git command failed; holds the first line of its stderr."""


def difference(folder: Path, sources: Iterable[Path] = ()) -> Difference:
    """The difference of the work tree around `folder` from its commit; empty if there is no work tree.

    Args:
        folder: anywhere in the work tree.
        sources: files; the result names those that git ignores.
    """
    found = Difference()
    git = _Git(folder, time.monotonic() + SECONDS, _questions())
    try:
        top = Path(os.fsdecode(git("rev-parse", "--show-toplevel").removesuffix(b"\n")))
        git.folder = top
        try:
            found.commit = git("rev-parse", "--verify", "-q", "HEAD^{commit}").decode().strip()
        except _Failed:
            found.commit = None
        _fill(found, git, top)
        found.untracked = _names(git("ls-files", "--others", "--exclude-standard", "-z"))
        found.ignored = _ignored(git, top, sources)
    except FileNotFoundError:
        return Difference()  # no git on this machine
    except subprocess.TimeoutExpired:
        found.trouble = f"git took more than {SECONDS:.0f} s"
    except (OSError, _Failed) as error:
        if "not a git repository" in str(error) or "must be run in a work tree" in str(error):
            return Difference()
        found.trouble = str(error)
    return found


class _Git:
    """Runs git in a folder, with its own environment, until a deadline that all calls share."""

    def __init__(self, folder: Path, deadline: float, environment: dict[str, str], options: Sequence[str] = ()) -> None:
        self.folder, self.deadline, self.environment, self.options = folder, deadline, environment, options

    def __call__(self, *words: str | bytes, given: bytes = b"", may_fail: bool = False) -> bytes:
        """The command's output.

        Raises:
            _Failed: it ended with an error.
            subprocess.TimeoutExpired: the deadline has passed.
        """
        left = max(0.1, self.deadline - time.monotonic())
        command = ["git", *self.options, *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, input=given, capture_output=True, timeout=left
        )
        if done.returncode != 0 and not may_fail:
            complaint = done.stderr.decode(errors="replace").strip().splitlines() or [f"{words[0]!r} failed"]
            raise _Failed(complaint[0].removeprefix("fatal: "))
        return done.stdout


def _questions() -> dict[str, str]:
    """The user's environment without variables that point git to another repository, index or program."""
    kept = ("GIT_CONFIG", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key.startswith(kept)}
    return {**own, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C"}


def _fill(found: Difference, git: _Git, top: Path) -> None:
    git.options = ("-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false")
    base = found.commit or git("hash-object", "-t", "tree", "--stdin").decode().strip()
    modes = _candidates(git, top, base)
    if not modes:
        return
    changes = _read(found, git, top, modes)
    if not changes and not found.left_out:
        return
    with tempfile.TemporaryDirectory(prefix="frame-code-") as scratch:
        _Workshop(Path(scratch), git, base).make(found, changes)
    found.dirty = bool(found.patch or found.left_out)


def _candidates(git: _Git, top: Path, base: str) -> dict[bytes, str]:
    """Paths that may differ from the commit, with git's mode of the current file; '000000' if there is none."""
    modes = {}
    raw = git("diff-index", "--raw", "-z", "--no-renames", "--no-abbrev", "--ignore-submodules=none", base).split(b"\0")
    for entry, path in zip(raw[:-1:2], raw[1::2], strict=True):
        modes[path] = entry.split(b" ")[1].decode()
    # marked in the index as files that git must not look at
    for line in git("ls-files", "-s", "-v", "-z").split(b"\0")[:-1]:
        entry, _, path = line.partition(b"\t")
        tag, mode = entry.split(b" ")[:2]
        if (tag.islower() or tag == b"S") and os.path.lexists(os.path.join(os.fsencode(top), path)):
            modes.setdefault(path, mode.decode())
    return modes


def _read(found: Difference, git: _Git, top: Path, modes: dict[bytes, str]) -> dict[bytes, _Change]:
    """The files' bytes, and for links their targets. Files that must not be kept are named in `left_out`."""
    changes: dict[bytes, _Change] = {}
    filtered = _filtered(git, list(modes))
    total = 0
    for path, mode in sorted(modes.items()):
        full = os.path.join(os.fsencode(top), path)
        there = _status(full)
        why = f"git's filter {filtered[path]} changes it" if path in filtered else _unfit(path, mode, there)
        size = there.st_size if there is not None else 0
        if not why and there is not None and mode == "000000":
            mode = _mode_in_conflict(git, path, there)
        if not why and (total + size > ALL_BYTES or len(changes) >= FILES):
            why = "too many changes for a patch"
        content = b"" if why or there is None else _content(full, there)
        if holds_a_key(content):
            why = "holds what looks like a key"
        if why:
            found.left_out[shown(path)] = why
            continue
        total += size
        changes[path] = _Change(mode, content) if there is not None and mode else _Change("")
    return changes


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _unfit(path: bytes, mode: str, there: os.stat_result | None) -> str:
    """Why a file is left out of a patch, as far as is known without reading it."""
    if mode == "160000":
        return "a submodule"
    if is_secret(shown(path)):
        return "may hold secrets"
    if there is None or mode == "000000" and stat.S_ISDIR(there.st_mode):
        return ""
    if not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
        return "no ordinary file"
    return f"{there.st_size / 1e6:.1f} MB, too much for a patch" if there.st_size > FILE_BYTES else ""


def _content(path: bytes, there: os.stat_result) -> bytes:
    if stat.S_ISLNK(there.st_mode):
        return os.readlink(path)
    if stat.S_ISDIR(there.st_mode):
        return b""
    with open(path, "rb") as stream:
        return stream.read()


def _mode_in_conflict(git: _Git, path: bytes, there: os.stat_result) -> str:
    """The mode of a file that a merge left in conflict; '' if it was removed from the index but not from the disk."""
    if not git("ls-files", "--unmerged", "-z", "--", b":(top,literal)" + path):
        return ""
    if stat.S_ISLNK(there.st_mode):
        return "120000"
    return "100755" if there.st_mode & stat.S_IXUSR else "100644"


def _filtered(git: _Git, paths: Sequence[bytes]) -> dict[bytes, str]:
    """The paths whose content a filter changes on the way into git (LFS, git-crypt), with the filter's name."""
    answers = git("check-attr", "-z", "--stdin", "filter", given=b"".join(path + b"\0" for path in paths)).split(b"\0")
    drivers: dict[bytes, bool] = {b"unspecified": False, b"unset": False, b"set": False}
    found = {}
    for path, driver in zip(answers[:-1:3], answers[2::3], strict=True):
        if driver not in drivers:
            settings = (
                git("config", "--get", b"filter." + driver + b"." + k, may_fail=True) for k in (b"clean", b"process")
            )
            drivers[driver] = any(settings)
        if drivers[driver]:
            found[path] = repr(driver.decode(errors="replace"))
    return found


def _ignored(git: _Git, top: Path, sources: Iterable[Path]) -> list[str]:
    inside = [os.fsencode(file) for file in sorted(sources) if file.is_relative_to(top)]
    inside = [path for path in inside if b"site-packages" not in path]
    given = b"".join(os.path.relpath(path, os.fsencode(top)) + b"\0" for path in inside)
    return _names(git("check-ignore", "-z", "--stdin", given=given, may_fail=True)) if given else []


def _names(answer: bytes) -> list[str]:
    return [shown(path) for path in answer.split(b"\0")[:-1]]


def shown(path: bytes) -> str:
    """A path as text, whatever its bytes are."""
    return path.decode(errors="backslashreplace")


class _Workshop:
    """A temporary repository without settings, in which a patch is made and tried."""

    def __init__(self, scratch: Path, users: _Git, base: str) -> None:
        self.scratch, self.base = scratch, base
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        environment |= {"HOME": str(scratch), "XDG_CONFIG_HOME": str(scratch), "LC_ALL": "C"}
        environment |= dict.fromkeys(("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"), os.devnull)
        environment |= dict.fromkeys(("GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM", "GIT_NO_REPLACE_OBJECTS"), "1")
        self.git = _Git(scratch, users.deadline, environment)
        form = users("rev-parse", "--show-object-format").decode().strip()
        self.git("init", "-q", "--bare", "--template=", f"--object-format={form}", str(scratch / "git"))
        environment["GIT_DIR"] = str(scratch / "git")
        objects = users("rev-parse", "--git-path", "objects").removesuffix(b"\n")
        objects = os.path.join(os.fsencode(users.folder), objects)
        (scratch / "git" / "objects" / "info" / "alternates").write_bytes(objects + b"\n")
        (scratch / "git" / "info").mkdir(exist_ok=True)

    def make(self, found: Difference, changes: dict[bytes, _Change]) -> None:
        """Fills in the patch, as text if that applies under any settings, and the files that it does not restore."""
        blobs = self._blobs(changes)
        found.patch = self._patch(blobs, set())
        wrong = self._wrong(found.patch, changes)
        if wrong:
            found.patch = self._patch(blobs, wrong)
            if self._wrong(found.patch, changes):
                found.patch, out = self._one_by_one(blobs, wrong, changes)
                rest = {path: change for path, change in changes.items() if path not in out}
                wrong = out | self._wrong(found.patch, rest, whitespace="nowarn")
                found.left_out |= dict.fromkeys(map(shown, sorted(wrong)), "git apply writes it in another form")

    def _one_by_one(
        self, blobs: dict[bytes, _Blob], doubtful: set[bytes], changes: dict[bytes, _Change]
    ) -> tuple[bytes, set[bytes]]:
        """The patch with each doubtful file in the form that works for it, and the files for which no form works."""
        binary, out = set(), set()
        for path in doubtful:
            alone, change = {path: blobs[path]}, {path: changes[path]}
            if not self._wrong(self._patch(alone, {path}), change):
                binary.add(path)
            elif self._wrong(self._patch(alone, set()), change, whitespace="nowarn"):
                out.add(path)
        return self._patch({path: blob for path, blob in blobs.items() if path not in out}, binary), out

    def _blobs(self, changes: dict[bytes, _Change]) -> dict[bytes, _Blob]:
        """Each path's mode and object; mode '0' if it is gone."""
        files = self.scratch / "files"
        files.mkdir()
        kept = [path for path, change in changes.items() if change.mode]
        for i, path in enumerate(kept):
            (files / str(i)).write_bytes(changes[path].content)
        names = "".join(f"{files / str(i)}\n" for i in range(len(kept))).encode()
        objects = self.git("hash-object", "-w", "--no-filters", "--stdin-paths", given=names).decode().split()
        shutil.rmtree(files)
        gone = ("0", "0" * len(self.base))
        made = {path: (changes[path].mode, blob) for path, blob in zip(kept, objects, strict=True)}
        return {path: made.get(path, gone) for path in changes}

    def _patch(self, blobs: dict[bytes, _Blob], binary: set[bytes]) -> bytes:
        """The patch from commit to work tree: first the text, then the files in `binary`, which no setting alters."""
        middle = self._tree({path: blob for path, blob in blobs.items() if path not in binary})
        attributes = self.scratch / "git" / "info" / "attributes"
        attributes.write_bytes(b"")
        patch = self._between(self.base, middle)
        attributes.write_bytes(b"* -diff\n")
        return patch + (self._between(middle, self._tree(blobs)) if binary else b"")

    def _between(self, old: str, new: str) -> bytes:
        return self.git("diff-tree", "-p", "--binary", "--full-index", "--no-renames", "--no-color", old, new)

    def _tree(self, blobs: dict[bytes, _Blob]) -> str:
        self.git("read-tree", self.base)
        # deletions first: a file may have become a folder
        entries = sorted((blob[0] != "0", path, blob) for path, blob in blobs.items())
        given = b"".join(f"{mode} {blob}\t".encode() + path + b"\0" for _, path, (mode, blob) in entries)
        self.git("update-index", "--add", "-z", "--index-info", given=given)
        return self.git("write-tree").decode().strip()

    def _wrong(self, patch: bytes, changes: dict[bytes, _Change], whitespace: str = "fix") -> set[bytes]:
        """The paths that differ from the work tree after `git apply` in a fresh checkout."""
        if not patch:
            return set()
        tree = self.scratch / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        (self.scratch / "git" / "info" / "attributes").write_bytes(b"")
        self.git("read-tree", self.base)
        there = self.git("ls-files", "-z").split(b"\0")[:-1]
        wanted = [path for path in there if path in changes or path.rpartition(b"/")[2] == b".gitattributes"]
        given = b"".join(path + b"\0" for path in wanted)
        clone = _Git(tree, self.git.deadline, {**self.git.environment, "GIT_WORK_TREE": str(tree)})
        clone.options = ("-c", "core.bare=false")
        clone("checkout-index", "-f", "-z", "--stdin", given=given)
        try:
            clone("apply", f"--whitespace={whitespace}", "-", given=patch)
        except _Failed:
            return set(changes)
        return {path for path, change in changes.items() if not _same(os.path.join(os.fsencode(tree), path), change)}


def _same(path: bytes, change: _Change) -> bool:
    there = _status(path)
    if there is None or stat.S_ISDIR(there.st_mode):
        return not change.mode
    if stat.S_ISLNK(there.st_mode):
        return change.mode == "120000" and os.readlink(path) == change.content
    mode = "100755" if there.st_mode & stat.S_IXUSR else "100644"
    with open(path, "rb") as stream:
        return mode == change.mode and stream.read() == change.content
