"""Where a run was trained, and whether its modules are trusted on this machine."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame.common import trust
from frame.common.errors import Damaged, UserError
from frame.common.shell import pasted
from frame.runs.folder import RunFolder
from frame.runs.modules import File, Source
from frame.runs.reading import damaged
from frame.runs.source import file_of


@dataclass(frozen=True)
class Origin:
    """What is known of a run's modules.

    Args:
        folder: where the run was trained, as it says itself; '' if it does not.
        own: whether the user trained it on this machine, with this very config. Then it may build what it built then.
        modules: if it is not the user's own, the modules that it may name, because the user trusts their folder.
        source: the modules.
        changed: the files that have changed since the run was trained.
        now: whether they serve as they are now.
        digest: of the modules that serve.
        hint: what to do if its modules are not trusted; '' if nothing is known.
    """

    folder: str = ""
    own: bool = False
    modules: tuple[str, ...] = ()
    source: Source | None = None
    changed: tuple[str, ...] = ()
    now: bool = False
    digest: str = ""
    hint: str = ""

    @property
    def said(self) -> str:
        """A sentence on changed files; '' if there are none."""
        if not self.changed:
            return ""
        files = ", ".join(self.changed[:3]) + (f" and {len(self.changed) - 3} more" if len(self.changed) > 3 else "")
        have = "have" if len(self.changed) > 1 else "has"
        used = "the newer source is used" if self.now else "its own source is used; source=now takes the newer one"
        return f"{files} {have} changed since the run was trained: {used}"

    @property
    def name(self) -> str:
        """The source in records: '' for the one that the run was trained with."""
        return f"now {self.digest}" if self.now and self.changed else ""


def origin_of(run: RunFolder, *, now: bool = False, packages: Sequence[str] = ()) -> Origin:
    """The origin of a run; the empty one if it does not say where it was trained.

    Args:
        run: the run.
        now: take the modules as they are now.
        packages: packages that the caller trusts wherever they are. Their modules are always as they are now.

    Raises:
        UserError: a module is neither kept nor as it was, or is gone.
    """
    try:
        code = run.code
    except Damaged as damage:  # the rest of the run may be whole
        return Origin(hint=str(damage))
    folder, modules = code.get("folder"), code.get("modules")
    if folder is None or modules is None:
        return Origin()
    modules = {name: told for name, told in modules.items() if name.partition(".")[0] != "frame"}  # new in a clone
    how = trust.read().how(folder)
    if run.is_own and (how is not None or not modules):
        changed = _changed(folder, modules)
        files = _now(run, modules) if now else _then(run, modules)
        source = Source(files, Path(folder), stays=now or not changed)
        source.check_free()
        return Origin(folder, True, (), source, changed, now, source.digest)
    if how == trust.TYPED and modules:
        return _of_trusted_folder(run, folder, modules, now)
    named = {name: told for name, told in modules.items() if _below(name, packages)}
    if named or not modules:
        return _of_packages(folder, named)
    why = ", which is not trusted" if how is None else ", as it says, but this machine did not write it as it is now"
    return Origin(folder, hint=f"it was trained in {folder}{why}: if you trust it, {pasted('frame', 'trust', folder)}")


def own_folder_of(run: RunFolder) -> str | None:
    """Where the user trained a run on this machine; None if it is not the user's own, or does not say."""
    try:
        return run.code.get("folder") if run.is_own else None
    except Damaged:
        return None


def _of_trusted_folder(run: RunFolder, folder: str, modules: Mapping[str, Any], now: bool) -> Origin:
    """A run that others may have written. Only files of the folder serve it, never its own source."""
    inside = {name: told for name, told in modules.items() if Path(told["path"]).resolve().is_relative_to(folder)}
    changed = _changed(folder, inside)
    if changed and not now:
        raise UserError(
            f"{changed[0]} has changed since {run.path} was trained, and the source in it was not written here: "
            "source=now takes the newer one"
        )
    source = Source(_now(run, inside), Path(folder), stays=True)
    source.check_free()
    return Origin(folder, False, tuple(inside), source, changed, now, source.digest)


def _of_packages(folder: str, modules: Mapping[str, Any]) -> Origin:
    """A run that others may have written, whose packages the caller trusts: what of them differs from the run's."""
    found = {name: file for name in modules if (file := file_of(name)) is not None}
    hashes = {name: _sha(file.read_bytes()) for name, file in found.items()}
    changed = tuple(found[name].name for name, sha in hashes.items() if sha != modules[name]["sha256"])
    return Origin(folder, changed=changed, now=True, digest=_sha(repr(sorted(hashes.items())).encode())[:16])


def _below(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _changed(folder: str, modules: Mapping[str, Any]) -> tuple[str, ...]:
    """The files, below the folder if they lie there, whose content is another now. Files that are gone do not count."""
    found = []
    for told in modules.values():
        file = Path(told["path"])
        if file.is_file() and _sha(file.read_bytes()) != told["sha256"]:
            found.append(str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file))
    return tuple(found)


def _now(run: RunFolder, modules: Mapping[str, Any]) -> dict[str, File]:
    found = {}
    for name, told in modules.items():
        try:
            found[name] = File(Path(told["path"]).read_bytes(), told["path"], told["path"])
        except OSError:
            raise UserError(
                f"{told['path']} is gone since {run.path} was trained: leave source=now out, or put it back"
            ) from None
    return found


def _then(run: RunFolder, modules: Mapping[str, Any]) -> dict[str, File]:
    """The modules as they were; the kept copy is read only if the file has changed."""
    found = {}
    for name, told in modules.items():
        for place in (Path(told["path"]), *([run.path / told["file"]] if told.get("file") else [])):
            content = place.read_bytes() if place.is_file() else b""
            if place.is_file() and _sha(content) == told["sha256"]:
                found[name] = File(content, told["path"], str(place))
                break
        else:
            raise _lost(run, told)
    return found


def _lost(run: RunFolder, told: Mapping[str, Any]) -> Damaged | UserError:
    if told.get("file"):
        return damaged(run.path / told["file"], "is not what was written")
    return UserError(
        f"{told['path']} has changed since {run.path} was trained, and was not kept ({told.get('left_out')}): "
        "source=now takes the newer one"
    )


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
